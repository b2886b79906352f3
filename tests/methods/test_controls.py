from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import AutoFISConfig
from ctrloom.data.synthetic import Planted, SynthConfig
from ctrloom.methods.controls import best_by_score, random_like, selection_controls
from ctrloom.search_trace import Candidate, SearchTrace

FIELDS = ("a", "b", "c", "d", "e")
EVERY = [t for order in (2, 3) for t in combinations(FIELDS, order)]
FOUND = st.lists(st.sampled_from(EVERY), unique=True)


def found(tuples: list[tuple[str, ...]]) -> Architecture:
    interactions = tuple(Interaction(fields=t, score=1.0) for t in tuples)
    return Architecture(method="autofis", fields=FIELDS, interactions=interactions)


def searched(tuples: list[tuple[str, ...]]) -> SearchTrace:
    """The trace of a search over these candidates."""
    candidates = tuple(Candidate(fields=t, score=0.0, kept=False) for t in tuples)
    return SearchTrace(
        method="autofis",
        base="autofm",
        orders=(2, 3),
        candidates=candidates,
        steps=0,
        epochs=0,
        seconds=1.0,
        rows_per_second=1.0,
        hyperparameters={},
    )


def sizes(architecture: Architecture) -> dict[int, int]:
    return {order: len(architecture.of_order(order)) for order in (2, 3)}


@settings(deadline=None)
@given(tuples=FOUND, seed=st.integers(0, 1000))
def test_random_control_has_the_size_of_the_result(tuples: list[tuple[str, ...]], seed: int) -> None:
    drawn = random_like(found(tuples), searched(EVERY), [seed])
    assert sizes(drawn) == sizes(found(tuples))
    assert drawn.fields == FIELDS
    assert all(interaction.score is None for interaction in drawn.interactions)
    assert drawn == random_like(found(tuples), searched(EVERY), [seed])
    Architecture.model_validate(drawn.model_dump())  # in field order, no duplicates


def test_random_controls_reach_every_interaction_about_equally_often() -> None:
    counts = dict.fromkeys(combinations(FIELDS, 2), 0)
    for seed in range(500):
        for names in random_like(found([("a", "b"), ("d", "e")]), searched(EVERY), [seed]).of_order(2):
            counts[names] += 1
    assert all(65 <= count <= 135 for count in counts.values()), counts  # 100 +- 4 standard deviations


@pytest.mark.parametrize("seed", range(5))
def test_random_controls_are_drawn_from_candidates(seed: int) -> None:
    pool = [("a", "b", "c"), ("a", "b", "e"), ("b", "d", "e")]
    trace = searched([*combinations(FIELDS, 2), *pool])
    drawn = random_like(found([("a", "b"), ("a", "b", "c"), ("a", "b", "e")]), trace, seed)
    assert sizes(drawn) == {2: 1, 3: 2}
    assert set(drawn.of_order(3)) < set(pool)


def test_random_controls_draw_functions_too() -> None:
    pair, functions = ("a", "b"), ("inner", "outer", "memorize", "none")
    every = [Candidate(fields=pair, function=f, score=0.0, kept=False) for f in functions]
    trace = searched([]).model_copy(update={"candidates": tuple(every)})
    two = tuple(Interaction(fields=pair, function=f) for f in ("inner", "outer"))
    kept = Architecture(method="aim", fields=FIELDS, interactions=two)
    drawn = {tuple(i.function for i in random_like(kept, trace, seed).interactions) for seed in range(30)}
    assert drawn == {("inner", "outer"), ("inner", "memorize"), ("outer", "memorize")}


@settings(deadline=None)
@given(tuples=FOUND, scores=st.permutations(range(len(EVERY))))
def test_the_best_by_score_are_the_top(tuples: list[tuple[str, ...]], scores: list[int]) -> None:
    given_scores = {t: float(s) for t, s in zip(EVERY, scores, strict=True)}
    best = best_by_score(found(tuples), given_scores)
    assert sizes(best) == sizes(found(tuples))
    for order in (2, 3):
        chosen = set(best.of_order(order))
        left = [given_scores[t] for t in EVERY if len(t) == order and t not in chosen]
        assert all(given_scores[t] > score for t in chosen for score in left)
    assert all(i.score == given_scores[i.fields] for i in best.interactions)
    Architecture.model_validate(best.model_dump())


def test_controls_name_their_method() -> None:
    assert random_like(found([("a", "b")]), searched(EVERY), 0).method == "random"
    assert best_by_score(found([("a", "b")]), {("a", "b"): 0.5}).method == "statistics-auc"


@pytest.mark.parametrize(
    "control", [lambda f: random_like(f, searched(EVERY), 0), lambda f: best_by_score(f, {})]
)
def test_a_search_that_kept_nothing_has_empty_controls(control) -> None:  # type: ignore[no-untyped-def]
    assert control(found([])).interactions == ()


@pytest.mark.parametrize("seed", range(5))
def test_random_controls_are_not_drawn_as_planted_interactions_are(seed: int) -> None:
    planted = Planted(SynthConfig(fields=12, pairs=6, seed=seed))
    pairs = list(combinations(planted.names, 2))
    its = {tuple(planted.names[f] for f in fields) for fields in planted.interactions}
    whole = Architecture(
        method="autofis", fields=planted.names, interactions=tuple(Interaction(fields=t) for t in sorted(its))
    )
    config = AutoFISConfig(seed=seed, random_draws=10)
    drawn = selection_controls(whole, searched(pairs), config.draw_seeds)["random"]
    assert all(len(its & set(each.of_order(2))) < 5 for each in drawn)
