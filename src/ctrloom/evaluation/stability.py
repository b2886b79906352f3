"""How much the searches of different seeds agree.

S searches, K candidates.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrloom.config.base import StrictModel
from ctrloom.evaluation.choices import choices_in
from ctrloom.evaluation.correlation import known_mean, pearson, spearman
from ctrloom.search_trace import SearchTrace

Key = tuple[Any, ...]


class SeedPair(StrictModel):
    """Agreement of the searches of two seeds."""

    seeds: tuple[int, int]
    pearson: float | None  # of the candidates' scores; None: those of a search are all equal
    spearman: float | None
    jaccard: float | None  # kept by both over kept by either; None: neither kept any
    same_choice: float | None = None  # OptInter: share of the pairs of fields that are modelled alike


class Stability(StrictModel):
    """Agreement of the searches of an entry: means over those pairs of seeds that have the figure."""

    entry: str
    measure: str  # what the candidates were scored by
    seeds: tuple[int, ...]
    candidates: int
    kept: tuple[int, ...]  # per seed
    kept_by_all: int
    jaccard: float | None
    lowest_jaccard: float | None
    pearson: float | None
    spearman: float | None
    same_choice: float | None = None
    pairs: tuple[SeedPair, ...] = ()  # older versions did not record them


def stability(entry: str, seeds: Sequence[int], traces: Sequence[SearchTrace]) -> Stability | None:
    """Agreement of at least two searches over the same candidates, or AutoPI's operators; None without any.

    A candidate that only some of the searches scored (a triple, say) has the score 0 in the others.

    Source: AutoFIS, section 4.7.1, which has Pearson's correlation of the gates.
    """
    every, score_SK = aligned_scores(traces)
    if len(traces) < 2 or not every:
        return None
    kept = [_kept(trace) for trace in traces]
    choices = [choices_in(trace) for trace in traces] if traces[0].method == "optinter" else []
    pairs = tuple(
        SeedPair(
            seeds=(seeds[a], seeds[b]),
            pearson=pearson(score_SK[a], score_SK[b]),
            spearman=spearman(score_SK[a], score_SK[b]),
            jaccard=len(kept[a] & kept[b]) / len(kept[a] | kept[b]) if kept[a] | kept[b] else None,
            same_choice=_same(choices[a], choices[b]) if choices else None,
        )
        for a, b in combinations(range(len(traces)), 2)
    )
    return Stability(
        entry=entry,
        measure="operator strength" if traces[0].operators else traces[0].measure,
        seeds=tuple(seeds),
        candidates=len(every),
        kept=tuple(len(each) for each in kept),
        kept_by_all=len(set.intersection(*kept)),
        jaccard=known_mean(pair.jaccard for pair in pairs),
        lowest_jaccard=min((pair.jaccard for pair in pairs if pair.jaccard is not None), default=None),
        pearson=known_mean(pair.pearson for pair in pairs),
        spearman=known_mean(pair.spearman for pair in pairs),
        same_choice=known_mean(pair.same_choice for pair in pairs),
        pairs=pairs,
    )


def _same(a: Mapping[Key, str], b: Mapping[Key, str]) -> float:
    return fmean(a[pair] == b[pair] for pair in a)


def aligned_scores(traces: Sequence[SearchTrace]) -> tuple[list[Key], NDArray]:
    """All candidates (or operators) of any of the searches, and their scores in each: (S, K)."""
    scores = [_scores(trace) for trace in traces]
    every = sorted(set[Key]().union(*scores))
    return every, np.array([[each.get(key, 0.0) for key in every] for each in scores])


def _scores(trace: SearchTrace) -> dict[Key, float]:
    own: dict[Key, float] = {(c.function, *c.fields): c.score for c in trace.candidates}
    return own | {(o.operator, o.cell, o.source, o.target): o.strength or 0.0 for o in trace.operators}


def _kept(trace: SearchTrace) -> set[Key]:
    own: set[Key] = {(c.function, *c.fields) for c in trace.candidates if c.kept}
    return own | {(o.operator, o.cell, o.source, o.target) for o in trace.operators if o.kept}
