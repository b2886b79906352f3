"""Selections that a search must beat: random ones of the same size, and the best by statistics-AUC."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from ctrloom.architecture import Architecture, Interaction
from ctrloom.search.trace import SearchTrace


def gate_controls(
    found: Architecture, trace: SearchTrace, draws: int, seed: int
) -> dict[str, Sequence[Architecture]]:
    """What a selection by gates must beat: no selection, that of statistics-AUC, and random ones."""
    scores = {c.fields: c.statistics_auc for c in trace.candidates if c.statistics_auc is not None}
    every = Architecture(
        method="complete",
        fields=found.fields,
        interactions=tuple(
            Interaction(fields=c.fields, function=c.function)
            for c in trace.candidates
            if c.function != "none"
        ),
    )
    controls: dict[str, Sequence[Architecture]] = {
        "unpruned": [every],
        "statistics-auc": [best_by_score(found, scores)],
    }
    if draws:
        controls["random"] = [random_like(found, seed + draw) for draw in range(draws)]
    return controls


def random_like(found: Architecture, seed: int) -> Architecture:
    """As many interactions of each order and function as were found, drawn uniformly."""
    rng = np.random.default_rng(seed)
    chosen: list[Interaction] = []
    for order in found.orders:
        every = list(combinations(found.fields, order))
        for function in found.functions(order):
            picked = rng.choice(len(every), len(found.of_order(order, function)), replace=False)
            chosen += [Interaction(fields=every[i], function=function) for i in sorted(picked)]
    return Architecture(method="random", fields=found.fields, interactions=tuple(chosen))


def best_by_score(found: Architecture, scores: Mapping[tuple[str, ...], float]) -> Architecture:
    """As many interactions of each order as were found, those with the highest statistics-AUC."""
    chosen: list[Interaction] = []
    for order in found.orders:
        ranked = sorted((names for names in scores if len(names) == order), key=lambda names: -scores[names])
        top = set(ranked[: len(found.of_order(order))])
        every = (names for names in combinations(found.fields, order) if names in top)
        chosen += [Interaction(fields=names, score=scores[names]) for names in every]
    return Architecture(method="statistics-auc", fields=found.fields, interactions=tuple(chosen))
