"""Selections that a search must beat: random ones of the same size, and the best by statistics-AUC."""

from collections.abc import Mapping, Sequence

import numpy as np

from ctrloom.architecture import Architecture, Interaction
from ctrloom.search_trace import SearchTrace


def gate_controls(
    found: Architecture, trace: SearchTrace, draws: int, seed: int
) -> dict[str, Sequence[Architecture]]:
    """What a selection by gates must beat: no selection, that of statistics-AUC, and random ones."""
    scores = {c.fields: c.statistics_auc for c in trace.candidates if c.statistics_auc is not None}
    every = Architecture(method="complete", fields=found.fields, interactions=_choices(trace))
    controls: dict[str, Sequence[Architecture]] = {
        "unpruned": [every],
        "statistics-auc": [best_by_score(found, scores)],
    }
    if draws:
        controls["random"] = [random_like(found, trace, seed + draw) for draw in range(draws)]
    return controls


def random_like(found: Architecture, trace: SearchTrace, seed: int) -> Architecture:
    """As many interactions of each order as were found, drawn uniformly from the candidates of the search."""
    rng = np.random.default_rng(seed)
    choices, chosen = _choices(trace), []
    for order in found.orders:
        every = [choice for choice in choices if choice.order == order]
        size = sum(interaction.order == order for interaction in found.interactions)
        picked = rng.choice(len(every), size, replace=False)
        chosen += [every[i] for i in sorted(picked)]
    return Architecture(method="random", fields=found.fields, interactions=tuple(chosen))


def best_by_score(found: Architecture, scores: Mapping[tuple[str, ...], float]) -> Architecture:
    """As many interactions of each order as were found, those with the highest statistics-AUC."""
    position = {name: i for i, name in enumerate(found.fields)}
    chosen: list[Interaction] = []
    for order in found.orders:
        ranked = sorted((names for names in scores if len(names) == order), key=lambda names: -scores[names])
        top = ranked[: len(found.of_order(order))]
        in_order = sorted(top, key=lambda names: [position[name] for name in names])
        chosen += [Interaction(fields=names, score=scores[names]) for names in in_order]
    return Architecture(method="statistics-auc", fields=found.fields, interactions=tuple(chosen))


def _choices(trace: SearchTrace) -> tuple[Interaction, ...]:
    """What the search could keep."""
    return tuple(
        Interaction(fields=c.fields, function=c.function) for c in trace.candidates if c.function != "none"
    )
