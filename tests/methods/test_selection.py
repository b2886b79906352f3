from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score
from small import Planting, planting, rows_of, schema_of

from ctrloom.config import Hyperparameters, search_config
from ctrloom.config.base import ConfigError
from ctrloom.methods import selection
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.search_trace import SearchTrace

STATISTICS = ["statistics_auc", "mutual_information"]


def select(made: Planting, method: str, keep: dict[int, int], **more: object) -> SearchResult:
    task = SearchData(made.rows[2000:], made.rows[:2000], made.schema)
    config = search_config({"method": method, "keep": keep, **more})
    return selection.search(task, config, Hyperparameters())


@pytest.fixture(scope="module")
def made() -> Planting:
    return planting(rows=20_000, fields=6, sizes=(6,), pairs=2, triples=1)


@pytest.mark.parametrize("method", STATISTICS)
def test_the_best_of_each_order_are_kept(made: Planting, method: str) -> None:
    found = select(made, method, {3: 2, 2: 4})
    trace = found.trace
    assert {c.fields for c in trace.candidates} == {
        t for order in (2, 3) for t in combinations(made.schema.names, order)
    }
    for order, size in ((2, 4), (3, 2)):
        kept = {c.fields for c in trace.of_order(order) if c.kept}
        left = [c.score for c in trace.of_order(order) if not c.kept]
        assert kept == set(found.architecture.of_order(order))
        assert len(kept) == size
        assert all(c.score >= max(left) for c in trace.of_order(order) if c.kept)
    assert all(c.score == getattr(c, method) for c in trace.candidates)
    assert {i.fields: i.score for i in found.architecture.interactions} == {
        c.fields: c.score for c in trace.candidates if c.kept
    }
    assert (trace.method, trace.orders, trace.steps) == (method, (2, 3), 0)
    assert trace.seconds > 0


def test_mutual_information_is_that_of_the_joint_values_on_training_rows(made: Planting) -> None:
    found = select(made, "mutual_information", {2: 1})
    ids, label = made.rows.ids_NC.numpy()[2000:], made.rows.label_N.numpy()[2000:]
    for candidate in found.trace.candidates:
        i, j = made.schema.indices(candidate.fields)
        assert candidate.score == pytest.approx(mutual_info_score(ids[:, i] * 1000 + ids[:, j], label))


@pytest.mark.parametrize("method", STATISTICS)
def test_planted_pairs_are_among_the_best(planted: Planting, method: str) -> None:
    found = select(planted, method, {2: 6})
    assert planted.interactions <= set(found.architecture.of_order(2))


def test_corrected_information_removes_the_bias_of_many_values() -> None:
    schema = schema_of(*[("categorical", 150)] * 3, ("categorical", 3), ("categorical", 3))
    rows = rows_of(schema, 6000)
    d, e = (rows.ids_NC[:, i].numpy() - schema.offsets[i] for i in (3, 4))
    rows.label_N.numpy()[:] = np.random.default_rng(0).random(6000) < 0.3 + 0.3 * ((d + e) % 2)
    made = Planting(schema, rows, frozenset({("d", "e")}))
    plain = select(made, "mutual_information", {2: 3})
    fair = select(made, "mutual_information", {2: 3}, corrected=True)
    assert set(plain.architecture.of_order(2)) == set(combinations("abc", 2))
    assert fair.architecture.of_order(2)[-1] == ("d", "e")
    assert max(fair.trace.candidates, key=lambda c: c.score).fields == ("d", "e")
    assert [c.mutual_information for c in fair.trace.candidates] == [c.score for c in plain.trace.candidates]


def test_random_selections_depend_only_on_the_seed(made: Planting) -> None:
    chosen = [select(made, "random", {2: 3, 3: 2}, seed=seed).architecture for seed in (0, 0, 1, 2)]
    assert chosen[0] == chosen[1]
    assert len({c.fingerprint for c in chosen}) == 3
    assert [len(chosen[2].of_order(order)) for order in (2, 3)] == [3, 2]


@pytest.mark.parametrize(
    ("method", "controls"),
    [
        ("random", {"unpruned", "statistics-auc"}),
        ("statistics_auc", {"unpruned", "random"}),
        ("mutual_information", {"unpruned", "random", "statistics-auc"}),
    ],
)
def test_selection_excludes_its_own_control(made: Planting, method: str, controls: set[str]) -> None:
    found = select(made, method, {2: 3})
    assert set(found.controls) == controls
    assert all(len(a.of_order(2)) == 3 for name in controls - {"unpruned"} for a in found.controls[name])


def test_keep_larger_than_candidates_is_refused(made: Planting) -> None:
    with pytest.raises(ValueError, match=r"16 interactions of order 2.* only 15; use 2: 15 or less"):
        select(made, "random", {2: 16})
    assert len(select(made, "random", {2: 15}).architecture.interactions) == 15


def test_keep_is_required_and_round_trips(made: Planting) -> None:
    with pytest.raises(ConfigError, match="keep"):
        search_config({"method": "random"})
    with pytest.raises(ConfigError, match="keep"):
        search_config({"method": "random", "keep": {}})
    with pytest.raises(ConfigError, match="keep"):
        search_config({"method": "random", "keep": {5: 1}})
    config = search_config({"method": "random", "keep": {2: 1}})
    assert search_config({"method": "random", "keep": {"2": 1}}) == config  # keys of JSON are strings
    trace = select(made, "random", {2: 1}).trace
    assert SearchTrace.parse(trace.model_dump(mode="json"), "test").candidates == trace.candidates


def test_columns_of_every_kind_can_be_selected() -> None:
    schema = schema_of(("categorical", 9), ("multivalued", 5, 3), ("numeric", 2))
    made = Planting(schema, rows_of(schema, 3000), frozenset())
    for method in (*STATISTICS, "random"):
        assert len(select(made, method, {2: 2, 3: 1}).architecture.interactions) == 3
