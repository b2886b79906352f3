"""Control selections for a search: random ones of the same size, and the best by statistics-AUC."""

from collections.abc import Mapping, Sequence

import numpy as np

from ctrloom.architecture import Architecture, Interaction
from ctrloom.search_trace import SearchTrace


def selection_controls(
    found: Architecture, trace: SearchTrace, seeds: Sequence[Sequence[int]]
) -> dict[str, Sequence[Architecture]]:
    """Controls of a selection: no selection, the best by statistics-AUC, and random ones."""
    scores = {c.fields: c.statistics_auc for c in trace.candidates if c.statistics_auc is not None}
    every = Architecture(method="complete", fields=found.fields, interactions=_choices(trace))
    controls: dict[str, Sequence[Architecture]] = {
        "unpruned": [every],
        "statistics-auc": [best_by_score(found, scores)],
    }
    if seeds:
        controls["random"] = [random_like(found, trace, seed) for seed in seeds]
    return controls


def random_like(found: Architecture, trace: SearchTrace, seed: Sequence[int]) -> Architecture:
    """A uniformly random selection of candidates with the same number per order as were found."""
    rng = np.random.default_rng(seed)
    choices, chosen = _choices(trace), []
    for order in found.orders:
        every = [choice for choice in choices if choice.order == order]
        size = sum(interaction.order == order for interaction in found.interactions)
        picked = rng.choice(len(every), size, replace=False)
        chosen += [every[i] for i in sorted(picked)]
    return Architecture(method="random", fields=found.fields, interactions=tuple(chosen))


def best_by_score(found: Architecture, scores: Mapping[tuple[str, ...], float]) -> Architecture:
    """The interactions with the highest statistics-AUC, with the same number per order as were found."""
    position = {name: i for i, name in enumerate(found.fields)}
    chosen: list[Interaction] = []
    for order in found.orders:
        ranked = sorted((names for names in scores if len(names) == order), key=lambda names: -scores[names])
        top = ranked[: len(found.of_order(order))]
        in_order = sorted(top, key=lambda names: [position[name] for name in names])
        chosen += [Interaction(fields=names, score=scores[names]) for names in in_order]
    return Architecture(method="statistics-auc", fields=found.fields, interactions=tuple(chosen))


def _choices(trace: SearchTrace) -> tuple[Interaction, ...]:
    """All candidates of the search."""
    return tuple(
        Interaction(fields=c.fields, function=c.function) for c in trace.candidates if c.function != "none"
    )
