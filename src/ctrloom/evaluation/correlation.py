"""Means and correlations of numbers that may be unknown.

K numbers.
"""

from collections.abc import Iterable
from statistics import fmean

import numpy as np
from numpy.typing import NDArray


def known_mean(values: Iterable[float | None]) -> float | None:
    """Mean of those that are not None, if any."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def pearson(a_K: NDArray, b_K: NDArray) -> float | None:
    """Pearson's correlation; None if there are fewer than two numbers, or all of a column are equal."""
    if len(a_K) < 2 or np.ptp(a_K) == 0 or np.ptp(b_K) == 0:
        return None
    return float(np.corrcoef(a_K, b_K)[0, 1])


def spearman(a_K: NDArray, b_K: NDArray) -> float | None:
    """Spearman's correlation: Pearson's of the ranks, where ties have their mean rank."""
    return pearson(_ranks(a_K), _ranks(b_K))


def _ranks(score_K: NDArray) -> NDArray:
    _, place_K, count = np.unique(score_K, return_inverse=True, return_counts=True)
    rank_K: NDArray = (np.cumsum(count) - (count - 1) / 2)[place_K]
    return rank_K
