"""Counts of rows and clicks per combination of values.

N training rows, A all rows, F fields.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrloom.metrics.measure import EvaluationError, Floats, with_weight

DENSE_KEYS = 1 << 21  # up to this number of possible combinations, a table is faster than sorting

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """Labels of rows, and their weights."""

    label_N: Ids
    weight_N: Floats | None

    @property
    def rate(self) -> float:
        """Label rate."""
        return float(np.average(self.label_N, weights=self.weight_N))

    def shuffled(self) -> "Labels":
        """Labels and weights in random order, with a fixed seed."""
        place_N = np.random.default_rng(0).permutation(len(self.label_N))
        return Labels(self.label_N[place_N], None if self.weight_N is None else self.weight_N[place_N])

    def require_both(self, split: str) -> None:
        """Raise EvaluationError unless both labels occur."""
        if not 0 < self.label_N.sum() < len(self.label_N):
            raise EvaluationError(f"the {len(self.label_N)} {split} rows must have both labels, 0 and 1")


def sample(ids_NF: NDArray, label_N: NDArray, weight_N: NDArray | None, rows: int) -> tuple[NDArray, Labels]:
    """At most `rows` random rows of those with a weight other than 0, with a fixed seed."""
    if weight_N is not None:
        counted_N = with_weight(weight_N)
        ids_NF, label_N, weight_N = ids_NF[counted_N], label_N[counted_N], weight_N[counted_N].astype(float)
    if len(label_N) <= rows:
        return ids_NF, Labels(label_N.astype(np.int64), weight_N)
    chosen = np.sort(np.random.default_rng(0).choice(len(label_N), rows, replace=False, shuffle=False))
    weight_N = None if weight_N is None else weight_N[chosen]
    return ids_NF[chosen], Labels(label_N[chosen].astype(np.int64), weight_N)


def numbered(value_A: NDArray) -> tuple[Ids, int]:
    """Integer codes of values, and the number of distinct values."""
    distinct, code_A = np.unique(value_A, return_inverse=True)
    return code_A.astype(np.int64), len(distinct)


def combined(codes: list[tuple[Ids, int]]) -> tuple[Ids, int]:
    """One key per combination of values, and an upper bound; keys are renumbered before int64 overflows."""
    key_A, size = codes[0]
    for code_A, values in codes[1:]:
        if size * values >= 1 << 62:
            distinct, key_A = np.unique(key_A, return_inverse=True)
            size = len(distinct)
        key_A, size = key_A * values + code_A, size * values
    return key_A, size


def dense(key_N: Ids, rows: Labels, size: int) -> tuple[Floats, Floats]:
    """Rows and clicks (or their weights) of each key below `size`."""
    counts = np.bincount(key_N * 2 + rows.label_N, rows.weight_N, minlength=2 * size)
    both = counts.reshape(size, 2).astype(np.float64)
    return both.sum(1), both[:, 1]


def sparse(key_N: Ids, rows: Labels) -> tuple[Ids, Floats, Floats]:
    """Distinct keys, ascending, with their rows and clicks (or their weights)."""
    if rows.weight_N is not None:
        distinct, place_N = np.unique(key_N, return_inverse=True)
        return distinct, *dense(place_N, rows, len(distinct))
    packed = np.sort(key_N * 2 + rows.label_N)  # the label is the lowest bit, so one sort is enough
    starts = np.flatnonzero(np.concatenate([[True], packed[1:] >> 1 != packed[:-1] >> 1]))
    seen = np.diff(np.append(starts, len(packed))).astype(np.float64)
    return packed[starts] >> 1, seen, np.add.reduceat(packed & 1, starts).astype(np.float64)
