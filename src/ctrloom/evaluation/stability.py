"""How much the searches of different seeds agree.

S searches, K candidates.
"""

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from ctrloom.config.base import StrictModel
from ctrloom.search_trace import SearchTrace


class Stability(StrictModel):
    """Agreement of the searches of an entry, over all pairs of seeds."""

    entry: str
    measure: str  # what the candidates were scored by
    seeds: tuple[int, ...]
    candidates: int
    kept: tuple[int, ...]  # per seed
    kept_by_all: int
    jaccard: float | None  # kept by both over kept by either, mean; None: no search kept any
    lowest_jaccard: float | None
    pearson: float | None  # of the candidates' scores, mean; None: the scores of a search are all equal
    spearman: float | None


def stability(entry: str, seeds: Sequence[int], traces: Sequence[SearchTrace]) -> Stability | None:
    """Agreement of at least two searches over the same candidates; None without candidates.

    A candidate that only some of the searches scored (a triple, say) has the score 0 in the others.
    """
    if len(traces) < 2 or not any(trace.candidates for trace in traces):
        return None
    scores = [{(c.function, *c.fields): trace.strength(c) for c in trace.candidates} for trace in traces]
    kept = [{(c.function, *c.fields) for c in trace.candidates if c.kept} for trace in traces]
    every = sorted(set().union(*scores))
    score_SK = np.array([[each.get(name, 0.0) for name in every] for each in scores])
    overlaps = [len(a & b) / len(a | b) for a, b in combinations(kept, 2) if a | b]
    return Stability(
        entry=entry,
        measure=traces[0].measure,
        seeds=tuple(seeds),
        candidates=len(every),
        kept=tuple(len(each) for each in kept),
        kept_by_all=len(set.intersection(*kept)),
        jaccard=fmean(overlaps) if overlaps else None,
        lowest_jaccard=min(overlaps, default=None),
        pearson=_correlation(score_SK),
        spearman=_correlation(np.array([_ranks(score_K) for score_K in score_SK])),
    )


def _correlation(score_SK: NDArray) -> float | None:
    """Mean Pearson correlation over the pairs of rows."""
    if (np.ptp(score_SK, 1) == 0).any():
        return None
    return fmean(float(np.corrcoef(a, b)[0, 1]) for a, b in combinations(score_SK, 2))


def _ranks(score_K: NDArray) -> NDArray:
    """Ranks; ties have their mean rank."""
    _, place_K, count = np.unique(score_K, return_inverse=True, return_counts=True)
    rank_K: NDArray = (np.cumsum(count) - (count - 1) / 2)[place_K]
    return rank_K
