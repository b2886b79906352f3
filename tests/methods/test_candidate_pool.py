from itertools import combinations

import numpy as np
import pytest

from ctrloom.methods.candidate_pool import extend

FIELDS = ("z", "a", "m", "b", "k", "c", "y")  # field order is not alphabetical


def brute_force(kept: dict[tuple[str, ...], float], k: int) -> list[tuple[str, ...]]:
    """All tuples of the next order that contain one of the k strongest, by filtering."""
    order = len(next(iter(kept)))
    of_order = list(combinations(FIELDS, order))
    strong = sorted(kept, key=of_order.index)  # the sort is stable: ties stay in field order
    strong = sorted(strong, key=lambda names: abs(kept[names]), reverse=True)[:k]
    return [t for t in combinations(FIELDS, order + 1) if any(set(s) < set(t) for s in strong)]


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("pool", [1, 2, 5, 100, None])
@pytest.mark.parametrize("seed", range(5))
def test_strongest_tuples_are_extended(order: int, pool: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    every = list(combinations(FIELDS, order))
    chosen = rng.permutation(len(every))[: rng.integers(1, len(every))]
    scores = rng.integers(-3, 4, len(chosen)) / 2  # many ties, both signs
    kept = {every[i]: float(score) for i, score in zip(chosen, scores, strict=True)}
    found = extend(kept, FIELDS, pool)
    assert found == brute_force(kept, 3 if pool is None else pool)
    assert len(found) <= len(FIELDS) * (3 if pool is None else pool)


def test_strength_ignores_the_sign() -> None:
    kept = {("z", "a"): 0.1, ("b", "k"): -2.0, ("c", "y"): 1.0}
    assert {t for t in extend(kept, FIELDS, 1)} == {t for t in combinations(FIELDS, 3) if {"b", "k"} < set(t)}


def test_empty_selection_has_no_extensions() -> None:
    assert extend({}, FIELDS) == []
