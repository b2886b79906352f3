"""Encoded rows as tensors on one device.

N rows, C columns of the id matrix (a multi-valued field takes several), T rows of all processes, M those of
them that are here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, Self

import torch
from torch import Tensor


class BatchSource(Protocol):
    """What training asks of rows, wherever they are kept; `label_N` and `weight_N` are theirs in order."""

    @property
    def total(self) -> int: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102
    @property
    def label_N(self) -> Tensor: ...  # noqa: D102, N802
    @property
    def weight_N(self) -> Tensor | None: ...  # noqa: D102, N802
    def __len__(self) -> int: ...
    def to(self, device: torch.device) -> "BatchSource": ...  # noqa: D102
    def batches(self, size: int) -> Iterator["Batch"]: ...  # noqa: D102
    def shuffled(self, bounds: Sequence[int], generator: torch.Generator) -> Iterator["Batch"]: ...  # noqa: D102
    def take(self, order_T: Tensor) -> "BatchSource": ...  # noqa: D102
    def cut(self, order_T: Tensor, bounds: Sequence[int]) -> Iterator["Batch"]: ...  # noqa: D102


@dataclass(frozen=True)
class Batch:
    """Encoded rows; ids point into the fused table, offsets included. In batches they are int32.

    `factors_NC` multiplies the embedding of each id: 1 for a token, the scaled value for a number, 1/n for
    each of a field's n values and 0 for padding. It is None where all factors are 1.
    """

    ids_NC: Tensor  # int16 where the table is short enough, else int32
    label_N: Tensor  # float32, 0 or 1
    factors_NC: Tensor | None = None  # float32
    weight_N: Tensor | None = None  # float32

    def __len__(self) -> int:
        return len(self.ids_NC)

    @property
    def total(self) -> int:
        """Number of rows, those of other processes included."""
        return len(self)

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self.ids_NC.device

    def __getitem__(self, index: Tensor | slice) -> "Batch":
        if isinstance(index, Tensor) and index.dtype is not torch.bool:
            return Batch(**{k: v.index_select(0, index) for k, v in self.tensors()})  # faster than v[index]
        return Batch(**{k: v[index] for k, v in self.tensors()})

    def to(self, device: torch.device) -> "Batch":
        """The same rows on another device."""
        beside = device.type != "cpu"  # memory of the host can be read as soon as it is there
        moved = {k: v.to(device, non_blocking=beside) for k, v in self.tensors()}
        return replace(self, **moved)

    def batches(self, size: int) -> Iterator["Batch"]:
        """Consecutive slices of at most `size` rows; no row is left out."""
        for start in range(0, len(self), size):
            yield self[start : start + size].widened()

    def shuffled(self, bounds: Sequence[int], generator: torch.Generator) -> Iterator["Batch"]:
        """Batches of all rows in random order, each with as many as are between its bounds.

        The order is drawn on the device.
        """
        if self.device.type != "cpu":
            seed = int(torch.randint(2**62, (), generator=generator))
            generator = torch.Generator(self.device).manual_seed(seed)
        return self.cut(torch.randperm(self.total, generator=generator, device=generator.device), bounds)

    def take(self, order_T: Tensor) -> "Batch":
        """Batch in another order, or some of them."""
        return self[order_T.to(self.ids_NC.device)]

    def cut(self, order_T: Tensor, bounds: Sequence[int]) -> Iterator["Batch"]:
        """Batches of rows in another order; each has those between one bound and the next."""
        order_T = order_T.to(self.ids_NC.device)
        for start, stop in pairwise(bounds):
            yield self[order_T[start:stop]].widened()

    def widened(self) -> Self:
        """The same rows with ids in int32, as models take them."""
        return replace(self, ids_NC=self.ids_NC.int())

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """What there is of a row, by name."""
        yield "ids_NC", self.ids_NC
        yield "label_N", self.label_N
        if self.factors_NC is not None:
            yield "factors_NC", self.factors_NC
        if self.weight_N is not None:
            yield "weight_N", self.weight_N


def joined(parts: Sequence[Batch]) -> Batch:
    """The rows of all, one after the other."""
    if len(parts) == 1:
        return parts[0]
    columns = [dict(part.tensors()) for part in parts]
    return Batch(**{name: torch.cat([each[name] for each in columns]) for name in columns[0]})


@dataclass(frozen=True)
class Part(Batch):
    """The rows of one of several processes; orders and bounds speak of those of all.

    All processes shuffle the same numbers, and of every batch each takes the rows that it has. So a batch is
    what it would be in one process, whoever has its rows.
    """

    total: int = 0
    here_T: Tensor | None = None  # of each row of all processes its place here, or -1; on the CPU

    @classmethod
    def of(cls, rows: Batch, start: int, total: int) -> "Part":
        """Consecutive rows, the first of them number `start` of all."""
        here_T = torch.full((total,), -1, dtype=torch.int32)
        here_T[start : start + len(rows)] = torch.arange(len(rows), dtype=torch.int32)
        return cls(**dict(rows.tensors()), total=total, here_T=here_T)

    def shuffled(self, bounds: Sequence[int], generator: torch.Generator) -> Iterator[Batch]:
        """Batches of all rows in random order, which is the same for all processes."""
        return self.cut(torch.randperm(self.total, generator=generator), bounds)

    def take(self, order_T: Tensor) -> "Part":
        """Those of the rows that are here."""
        at_M, place_M = self._here(order_T)
        here_T = torch.full((len(order_T),), -1, dtype=torch.int32)
        here_T[at_M] = torch.arange(len(at_M), dtype=torch.int32)
        return Part(**dict(self[place_M].tensors()), total=len(order_T), here_T=here_T)

    def cut(self, order_T: Tensor, bounds: Sequence[int]) -> Iterator[Batch]:
        """Batches, of each the rows that are here; there may be none."""
        at_M, place_M = self._here(order_T)
        stops = torch.searchsorted(at_M, torch.tensor(bounds)).tolist()
        for (first, last), (start, stop) in zip(pairwise(bounds), pairwise(stops), strict=True):
            yield Part(**dict(self[place_M[start:stop]].widened().tensors()), total=last - first)

    def _here(self, order_T: Tensor) -> tuple[Tensor, Tensor]:
        """Which of an order's rows are here, and where."""
        assert self.here_T is not None, "a batch is not cut again"
        place_T = self.here_T[order_T]
        at_M = (place_T >= 0).nonzero().squeeze(1)
        return at_M, place_T[at_M].to(self.ids_NC.device)
