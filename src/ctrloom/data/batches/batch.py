"""Encoded rows as tensors on one device.

N rows, C columns of the id matrix (a multi-valued field takes several), T rows of all processes, M of them
in this process.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, Self

import torch
from torch import Tensor


class BatchSource(Protocol):
    """The interface of rows that training needs; `label_N` and `weight_N` are in row order."""

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
    """Encoded rows; ids are rows of the fused table, with field offsets added. In batches they are int32.

    `factors_NC` multiplies the embedding of each id: 1 for a token, the scaled value for a number, 1/n (or
    1 if they are summed) for each of a field's n values, and 0 for padding. It is None if all factors are 1.
    """

    ids_NC: Tensor  # int16 if the table is small enough, else int32
    label_N: Tensor  # float32, 0 or 1
    factors_NC: Tensor | None = None  # float32
    weight_N: Tensor | None = None  # float32

    def __len__(self) -> int:
        return len(self.ids_NC)

    @property
    def total(self) -> int:
        """Number of rows of all processes."""
        return len(self)

    @property
    def device(self) -> torch.device:
        """Device of the batches."""
        return self.ids_NC.device

    def __getitem__(self, index: Tensor | slice) -> "Batch":
        if isinstance(index, Tensor) and index.dtype is not torch.bool:
            return Batch(**{k: v.index_select(0, index) for k, v in self.tensors()})  # faster than v[index]
        return Batch(**{k: v[index] for k, v in self.tensors()})

    def to(self, device: torch.device) -> "Batch":
        """The same rows on another device."""
        non_blocking = device.type != "cpu"  # the host could read its memory before the copy is complete
        moved = {k: v.to(device, non_blocking=non_blocking) for k, v in self.tensors()}
        return replace(self, **moved)

    def batches(self, size: int) -> Iterator["Batch"]:
        """Consecutive slices of at most `size` rows; no row is dropped."""
        for start in range(0, len(self), size):
            yield self[start : start + size].widened()

    def shuffled(self, bounds: Sequence[int], generator: torch.Generator) -> Iterator["Batch"]:
        """Batches of all rows in random order; `bounds` are the batch boundaries.

        The order is drawn on the device. Rows before the first boundary are left out.
        """
        if self.device.type != "cpu":
            seed = int(torch.randint(2**62, (), generator=generator))
            generator = torch.Generator(self.device).manual_seed(seed)
        return self.cut(torch.randperm(self.total, generator=generator, device=generator.device), bounds)

    def take(self, order_T: Tensor) -> "Batch":
        """Rows in another order, or a subset of them."""
        return self[order_T.to(self.ids_NC.device)]

    def cut(self, order_T: Tensor, bounds: Sequence[int]) -> Iterator["Batch"]:
        """Batches of rows in another order; `bounds` are the batch boundaries."""
        order_T = order_T.to(self.ids_NC.device)
        for start, stop in pairwise(bounds):
            yield self[order_T[start:stop]].widened()

    def widened(self) -> Self:
        """The same rows with int32 ids, the type that models expect."""
        return replace(self, ids_NC=self.ids_NC.int())

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors that are not None, by name."""
        yield "ids_NC", self.ids_NC
        yield "label_N", self.label_N
        if self.factors_NC is not None:
            yield "factors_NC", self.factors_NC
        if self.weight_N is not None:
            yield "weight_N", self.weight_N


def concatenated(parts: Sequence[Batch]) -> Batch:
    """Concatenate rows."""
    if len(parts) == 1:
        return parts[0]
    columns = [dict(part.tensors()) for part in parts]
    return Batch(**{name: torch.cat([each[name] for each in columns]) for name in columns[0]})


@dataclass(frozen=True)
class Shard(Batch):
    """The rows of one of several processes; orders and bounds refer to the rows of all processes.

    All processes draw the same order, and each takes its own rows of every batch. A batch is therefore the
    same as in a single process.
    """

    total: int = 0
    here_T: Tensor | None = None  # index of each row in this process, or -1; on the CPU

    @classmethod
    def of(cls, rows: Batch, start: int, total: int) -> "Shard":
        """Consecutive rows, of which the first has index `start` among all."""
        here_T = torch.full((total,), -1, dtype=torch.int32)
        here_T[start : start + len(rows)] = torch.arange(len(rows), dtype=torch.int32)
        return cls(**dict(rows.tensors()), total=total, here_T=here_T)

    def shuffled(self, bounds: Sequence[int], generator: torch.Generator) -> Iterator[Batch]:
        """Batches of all rows in random order, the same order in all processes."""
        return self.cut(torch.randperm(self.total, generator=generator), bounds)

    def take(self, order_T: Tensor) -> "Shard":
        """Those of the rows that are in this process."""
        at_M, place_M = self._here(order_T)
        here_T = torch.full((len(order_T),), -1, dtype=torch.int32)
        here_T[at_M] = torch.arange(len(at_M), dtype=torch.int32)
        return Shard(**dict(self[place_M].tensors()), total=len(order_T), here_T=here_T)

    def cut(self, order_T: Tensor, bounds: Sequence[int]) -> Iterator[Batch]:
        """The rows of each batch that are in this process, possibly none."""
        at_M, place_M = self._here(order_T)
        stops = torch.searchsorted(at_M, torch.tensor(bounds)).tolist()
        for (first, last), (start, stop) in zip(pairwise(bounds), pairwise(stops), strict=True):
            yield Shard(**dict(self[place_M[start:stop]].widened().tensors()), total=last - first)

    def _here(self, order_T: Tensor) -> tuple[Tensor, Tensor]:
        """Positions in the order of the rows in this process, and their local indices."""
        assert self.here_T is not None, "a batch is not cut again"
        place_T = self.here_T[order_T]
        at_M = (place_T >= 0).nonzero().squeeze(1)
        return at_M, place_T[at_M].to(self.ids_NC.device)
