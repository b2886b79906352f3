"""Groups of rows with the same values of some fields.

N rows, G groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

DENSE = 4  # up to this number of possible groups per row, groups are not renumbered
LARGEST_KEY = 1 << 62


@dataclass(frozen=True)
class Cells:
    """The group of each row, and the number of groups; some may have no rows."""

    of_row_N: Tensor  # int64
    count: int

    @classmethod
    def of(cls, fields: Sequence[int], code_N: Mapping[int, Tensor], sizes: Sequence[int]) -> Self:
        """One group per combination of values of `fields`, whose codes are below their `sizes`."""
        key_N, count = code_N[fields[0]], sizes[fields[0]]
        for field in fields[1:]:
            if count * sizes[field] > LARGEST_KEY:
                key_N, count = _renumbered(key_N)
            key_N, count = key_N * sizes[field] + code_N[field], count * sizes[field]
        return cls(*(_renumbered(key_N) if count > DENSE * len(key_N) else (key_N, count)))

    def sums(self, value_N: Tensor) -> Tensor:
        """Sum of a value over the rows of each group (G,)."""
        return torch.bincount(self.of_row_N, value_N, self.count)

    def rows(self, row_N: Tensor) -> "Cells":
        """The same groups of some of the rows."""
        return Cells(self.of_row_N[row_N], self.count)

    def examples(self) -> Tensor:
        """The number of one row of each group (G,); 0 for a group without rows."""
        row_G = self.of_row_N.new_zeros(self.count)
        row_G[self.of_row_N] = torch.arange(len(self.of_row_N), device=row_G.device)
        return row_G


def _renumbered(key_N: Tensor) -> tuple[Tensor, int]:
    distinct, of_row_N = key_N.unique(return_inverse=True)
    return of_row_N, len(distinct)
