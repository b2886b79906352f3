"""Encoded rows as tensors on one device.

N rows, C columns of the id matrix (a multi-valued field takes several).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Encoded rows; ids point into the fused table, offsets included.

    `factors_NC` multiplies the embedding of each id: 1 for a token, the scaled value for a number, 1/n for
    each of a field's n values and 0 for padding. It is None where all factors are 1.
    """

    ids_NC: Tensor  # int32
    label_N: Tensor  # float32, 0 or 1
    factors_NC: Tensor | None = None  # float32
    weight_N: Tensor | None = None  # float32

    def __len__(self) -> int:
        return len(self.ids_NC)

    def __getitem__(self, index: Tensor | slice) -> "Rows":
        take = {k: v[index] for k, v in self._tensors()}
        return replace(self, **take)

    def to(self, device: torch.device) -> "Rows":
        """The same rows on another device."""
        moved = {k: v.to(device, non_blocking=True) for k, v in self._tensors()}
        return replace(self, **moved)

    def batches(self, size: int) -> Iterator["Rows"]:
        """Consecutive slices of at most `size` rows; no row is left out."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield "ids_NC", self.ids_NC
        yield "label_N", self.label_N
        if self.factors_NC is not None:
            yield "factors_NC", self.factors_NC
        if self.weight_N is not None:
            yield "weight_N", self.weight_N
