"""Columns in memory whose values have several types."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class MixedColumn:
    """One array per type; `place_N` is the place of each row's value in all of them, one after another."""

    arrays: tuple[pa.Array, ...]
    place_N: NDArray[np.int64]

    def __getitem__(self, row: int) -> pa.Scalar:
        place = int(self.place_N[row])
        for array in self.arrays:
            if place < len(array):
                return array[place]
            place -= len(array)
        raise IndexError(row)

    def filter(self, mask: pa.BooleanArray) -> Self:
        """The column with only the rows in the mask."""
        return replace(self, place_N=self.place_N[mask.to_numpy(zero_copy_only=False)])
