"""Weights of rows per split: they must leave something to train on and to measure."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ctrloom.config import Split
from ctrloom.data.errors import DataError

HEAVY = 0.1  # share of the weight of a split that a single row should not have
FEW_ROWS = 100  # of a split, in which one row may have it
USUAL = 1e-3, 1e3  # mean weight for which penalties and minimum sums of trees are meant


@dataclass
class SplitWeight:
    """Sums of the weights of one split."""

    rows: int = 0
    clicks: int = 0
    total: float = 0.0
    clicked: float = 0.0  # weight of the clicks
    missed: float = 0.0  # and of the other rows
    largest: float = 0.0

    def add(self, label_N: np.ndarray, weight_N: np.ndarray) -> None:
        """Add some rows."""
        heavy_N, click_N = weight_N.astype(np.float64), label_N == 1
        self.rows += len(label_N)
        self.clicks += int(np.count_nonzero(click_N))
        self.total += float(heavy_N.sum())
        self.clicked += float(heavy_N[click_N].sum())
        self.missed += float(heavy_N[~click_N].sum())
        self.largest = max(self.largest, float(heavy_N.max(initial=0)))

    def check(self, split: Split, column: str) -> None:
        """Raise DataError if all rows of the split, or all of one label, have no weight."""
        where, way_out = f"data.columns.{column}", "check the weights, or give the column the kind `ignored`"
        if not self.total:
            raise DataError(f"{where}: all {self.rows:,} rows of the {split} split have weight 0; {way_out}")
        for sum_of_label, number, what in (
            (self.clicked, self.clicks, "clicks"),
            (self.missed, self.rows - self.clicks, "rows without click"),
        ):
            if not sum_of_label:
                raise DataError(
                    f"{where}: all {number:,} {what} of the {split} split have weight 0; {way_out}"
                )
            if sum_of_label / self.total < np.finfo(np.float32).eps:
                raise DataError(
                    f"{where}: the {number:,} {what} of the {split} split have {sum_of_label:.3g} of its "
                    f"weight of {self.total:.3g}, too little to count; {way_out}"
                )

    def warnings(self, split: Split, column: str) -> Iterator[str]:
        """Sentences on weights that are likely to be a mistake."""
        if self.rows >= FEW_ROWS and self.largest > HEAVY * self.total:
            yield (
                f"{column}: one row has {self.largest / self.total:.0%} of the weight of all {self.rows:,} "
                f"rows of the {split} split, so that the others count little; limit the weights"
            )
        low, high = USUAL
        if split == "train" and not low <= self.total / self.rows <= high:
            yield (
                f"{column}: the mean weight is {self.total / self.rows:.3g}; penalties and minimum sums of "
                "trees are meant for weights around 1, so divide all weights by their mean"
            )
