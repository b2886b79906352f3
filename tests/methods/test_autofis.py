from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from small import Planting, categorical_schema, planting, rows_of, schema_of

from ctrloom.architecture import Architecture
from ctrloom.config import AutoFISConfig, GatedSettings, Hyperparameters
from ctrloom.data.batches.batch import Batch
from ctrloom.methods import autofis
from ctrloom.methods.interface import SearchData
from ctrloom.nn.norm import BatchNorm
from ctrloom.schema import Schema
from ctrloom.search_trace import SearchTrace

DEFAULT = AutoFISConfig()
# Gates alone decide, as in the paper
ALONE = {"confirm": False, "permuted": 0, "embedding_l2": 0.0, "warm_up": 1, "threshold": 3.0}
SMALL = AutoFISConfig(batch_size=500, **ALONE)
HYPER = GatedSettings()


def search(
    rows: Batch, schema: Schema, config: AutoFISConfig, hyper: Hyperparameters
) -> tuple[Architecture, SearchTrace]:
    found = autofis.search(SearchData(rows, rows[:100], schema), config, hyper)
    return found.architecture, found.trace


def kept(architecture: Architecture) -> set[tuple[str, ...]]:
    return {interaction.fields for interaction in architecture.interactions}


def few_false(found: set[tuple[str, ...]], made: Planting, candidates: int) -> bool:
    return len(found - made.interactions) <= 0.1 * (candidates - len(made.interactions))


@pytest.mark.parametrize(("fields", "pairs", "seed"), [(6, 3, 0), (6, 3, 1), (8, 4, 2)])
def test_planted_pairs_are_found(fields: int, pairs: int, seed: int) -> None:
    made = planting(rows=30_000, fields=fields, sizes=(20,), pairs=pairs, seed=seed)
    architecture, trace = search(made.rows, made.schema, DEFAULT.model_copy(update={"seed": seed}), HYPER)
    assert made.interactions <= kept(architecture)
    assert few_false(kept(architecture), made, len(trace.candidates))


def test_the_deep_base_finds_planted_pairs(planted: Planting) -> None:
    hyper = Hyperparameters(hidden=(16,))
    config = DEFAULT.model_copy(update={"base": "autodeepfm"})
    architecture, trace = search(planted.rows, planted.schema, config, hyper)
    assert trace.base == "autodeepfm"
    assert len(planted.interactions & kept(architecture)) >= 2
    assert few_false(kept(architecture), planted, len(trace.candidates))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_bi_level_search_finds_planted_pairs(planted: Planting, seed: int) -> None:
    config = DEFAULT.model_copy(update={"bi_level": True, "seed": seed})
    architecture, trace = search(planted.rows, planted.schema, config, HYPER)
    assert planted.interactions <= kept(architecture)
    assert few_false(kept(architecture), planted, len(trace.candidates))
    assert trace.steps == config.epochs * 81  # batches are those of half the rows


@pytest.mark.parametrize("seed", [0, 1])
def test_label_noise_keeps_almost_nothing(planted: Planting, seed: int) -> None:
    shuffled = torch.randperm(len(planted.rows), generator=torch.Generator().manual_seed(seed))
    noise = Batch(planted.rows.ids_NC, planted.rows.label_N[shuffled])
    architecture, trace = search(noise, planted.schema, DEFAULT.model_copy(update={"seed": seed}), HYPER)
    assert len(architecture.interactions) <= 1
    assert len(trace.candidates) == 15


@pytest.mark.parametrize("norm", [True, False])
def test_batch_norm_of_the_search_is_not_that_of_retraining(planted: Planting, norm: bool) -> None:
    config = SMALL.model_copy(update={"batch_norm": norm})
    whole = Architecture.complete(planted.schema.names)
    task = SearchData(planted.rows, planted.rows[:100], planted.schema)
    hyper = GatedSettings(interaction_norm=not norm)
    model = autofis._gate_search(whole, (2,), task, config, hyper).model
    kinds = {type(module) for module in model.modules()}
    assert (BatchNorm in kinds) is norm


def without_clock(trace: SearchTrace) -> SearchTrace:
    return trace.model_copy(update={"seconds": 0.0, "rows_per_second": 0.0, "stages": ()})


def test_same_seed_gives_a_bit_identical_search(planted: Planting) -> None:
    rows, hyper = planted.rows[:4000], Hyperparameters(embedding_size=4)
    config = SMALL.model_copy(update={"epochs": 2, "order": 3})
    first, second = (search(rows, planted.schema, config, hyper) for _ in range(2))
    assert first[0] == second[0]
    assert without_clock(first[1]) == without_clock(second[1])
    other = search(rows, planted.schema, config.model_copy(update={"seed": 1}), hyper)
    assert without_clock(other[1]) != without_clock(first[1]).model_copy(
        update={"hyperparameters": other[1].hyperparameters}
    )


Searched = tuple[Planting, AutoFISConfig, Architecture, SearchTrace]


@pytest.fixture(scope="module")
def third() -> Searched:
    made = planting(rows=60_000, fields=6, sizes=(10,), pairs=2, triples=1)
    config = DEFAULT.model_copy(update={"order": 3, **ALONE})
    return (made, config, *search(made.rows, made.schema, config, HYPER))


@pytest.fixture(scope="module")
def joint() -> Searched:
    made = planting(rows=20_000, fields=5, sizes=(8,), pairs=2, triples=1, seed=2)
    config = DEFAULT.model_copy(update={"order": 3, "higher_order": "joint", **ALONE})
    return (made, config, *search(made.rows, made.schema, config, HYPER))


def test_planted_pairs_and_triples_are_found(third: Searched) -> None:
    made, _, architecture, trace = third
    assert made.interactions <= kept(architecture)
    assert few_false(kept(architecture), made, len(trace.candidates))


@pytest.mark.parametrize("candidates", ["pool", "all"])
def test_interactions_of_four_fields_are_found(candidates: Literal["all", "pool"]) -> None:
    made = four_planted()
    config = AutoFISConfig(order=4, candidates=candidates, **{**ALONE, "threshold": 1.0}, batch_size=250)
    architecture, trace = search(made.rows, made.schema, config, Hyperparameters(embedding_size=4))
    assert made.interactions <= kept(architecture)
    strongest = max(trace.of_order(4), key=lambda c: abs(c.score))
    assert strongest.fields == ("a", "b", "c", "d")
    if candidates == "all":
        assert len(trace.of_order(3)) == 20
        assert len(trace.of_order(4)) == 15


@pytest.mark.parametrize("pool", [1, None])
def test_a_pool_extends_the_strongest_of_the_order_below(pool: int | None) -> None:
    made = four_planted()
    config = SMALL.model_copy(update={"order": 4, "candidates": "pool", "pool": pool, "threshold": 0.5})
    small = Hyperparameters(embedding_size=2)
    found = autofis.search(SearchData(made.rows[:6000], made.rows[:100], made.schema), config, small)
    trace, names = found.trace, made.schema.names
    assert len(trace.of_order(2)) == 15
    for order in (3, 4):
        below = {c.fields: c.score for c in trace.of_order(order - 1) if c.kept}
        ranked = sorted(below, key=lambda fields: abs(below[fields]), reverse=True)[: pool or 3]
        reached = {t for t in combinations(names, order) if any(set(fields) < set(t) for fields in ranked)}
        assert {c.fields for c in trace.of_order(order)} == reached
        drawn = {fields for control in found.controls["random"] for fields in control.of_order(order)}
        best = found.controls["statistics-auc"][0].of_order(order)
        assert drawn | set(best) <= reached == set(found.controls["unpruned"][0].of_order(order))
        assert len(best) == len(found.architecture.of_order(order))


def test_empty_pool_ends_the_search(planted: Planting) -> None:
    config = SMALL.model_copy(update={"threshold": 1e3, "order": 4, "epochs": 1, "candidates": "pool"})
    architecture, trace = search(planted.rows[:5000], planted.schema, config, HYPER)
    assert (architecture.interactions, trace.orders, len(trace.candidates)) == ((), (2,), 15)


def test_candidates_larger_than_memory_are_refused() -> None:
    schema, config = categorical_schema(200), SMALL.model_copy(update={"order": 4})
    with pytest.raises(
        ValueError, match=r"all 64,684,950 interactions of order 4 .*use search.candidates: pool"
    ):
        search(rows_of(schema, 10), schema, config, HYPER)


def four_planted() -> Planting:
    """Clicks with a pair, a triple and an interaction of four fields, none of which can replace another."""
    schema = categorical_schema(6, 6)
    ids = np.random.default_rng(0).integers(2, 6, (10_000, 6)).astype(np.int32)
    a, b, c, d = (np.where(ids[:, f] < 4, 1.0, -1.0) for f in range(4))
    logit = a * b + a * b * c + 1.5 * a * b * c * d
    label = np.random.default_rng(1).random(len(ids)) < 1 / (1 + np.exp(-logit))
    rows = Batch(torch.from_numpy(ids + np.array(schema.offsets, np.int32)), torch.from_numpy(label).float())
    return Planting(schema, rows, frozenset(tuple("abcd"[:n]) for n in (2, 3, 4)))


def pairs_searched_again(searched: Searched) -> set[tuple[str, ...]]:
    """Pairs that still have gates in the trace while triples are searched."""
    _, _, _, trace = searched
    return {
        c.fields
        for c, gate in zip(trace.candidates, trace.path_scores[-1], strict=True)
        if c.order == 2 and gate is not None
    }


def test_sequential_search_fixes_lower_orders(third: Searched) -> None:
    assert not pairs_searched_again(third)


def test_joint_search_searches_kept_pairs_again(joint: Searched) -> None:
    _, _, architecture, trace = joint
    begin = [s for s, threshold in enumerate(trace.path_threshold) if threshold == 0][1]
    after_pairs = {
        c.fields for c, gate in zip(trace.candidates, trace.path_scores[begin - 1], strict=True) if gate
    }
    assert after_pairs
    assert pairs_searched_again(joint) == after_pairs
    assert set(architecture.of_order(2)) <= after_pairs
    assert {c.order for c in trace.candidates if c.kept} <= {2, 3}


def check_trace(config: AutoFISConfig, rows: int, architecture: Architecture, trace: SearchTrace) -> None:
    """Properties of every trace."""
    fields = architecture.fields
    assert {c.fields for c in trace.candidates} == {
        t for order in range(2, config.order + 1) for t in combinations(fields, order)
    }
    assert len({c.fields for c in trace.candidates}) == len(trace.candidates)
    assert all(c.kept == (c.score != 0) for c in trace.candidates)
    assert {c.fields: c.score for c in trace.candidates if c.kept} == {
        i.fields: i.score for i in architecture.interactions
    }
    per_epoch = -(-rows // (config.batch_size or min(2000, max(64, rows // 80))))
    gates_still = sum(config.warm_up + config.gate_warm_up * (order - 2) for order in trace.orders)
    assert trace.epochs == gates_still + config.epochs * len(trace.orders)
    assert trace.steps == trace.path_steps[-1] == config.epochs * len(trace.orders) * per_epoch
    assert list(trace.path_steps) == sorted(trace.path_steps)
    assert len(trace.path_steps) <= 62 * len(trace.orders)
    # Each order starts at gate_init, and its threshold increases from 0 to the configured one.
    begins = [s for s, threshold in enumerate(trace.path_threshold) if threshold == 0]
    assert len(begins) == len(trace.orders)
    for begin, end in zip(begins, [*begins[1:], len(trace.path_steps)], strict=True):
        at_start = [gate for gate in trace.path_scores[begin] if gate is not None]
        assert at_start == pytest.approx([config.gate_init] * len(at_start), abs=1.1e-3)
        assert np.all(np.diff(trace.path_threshold[begin:end]) > 0)
        assert trace.path_threshold[end - 1] == pytest.approx(config.threshold * config.gate_init, rel=1e-9)
    # The final gate is the soft-thresholded accumulator.
    for i, candidate in enumerate(trace.candidates):
        end = max(s for s, gates in enumerate(trace.path_scores) if gates[i] is not None)
        assert trace.path_scores[end][i] == candidate.score
        assert candidate.accumulator is not None
        shrunk = max(abs(candidate.accumulator) - trace.path_threshold[end], 0.0)
        assert candidate.score == pytest.approx(np.sign(candidate.accumulator) * shrunk, abs=1e-6)


@pytest.mark.parametrize("name", ["third", "joint"])
def test_the_trace_of_a_third_order_search(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    made, config, architecture, trace = request.getfixturevalue(name)
    check_trace(config, len(made.rows), architecture, trace)
    trace.save(tmp_path / "search.json")
    architecture.save(tmp_path / "architecture.json")
    assert SearchTrace.load(tmp_path / "search.json") == trace
    assert Architecture.load(tmp_path / "architecture.json") == architecture


@pytest.mark.parametrize(
    "change",
    [
        {"gate_decay": 0.5, "learning_rate_decay": 0.7},
        {"warm_up": 0, "epochs": 1},
        {"mu": 0.6, "threshold": 1.0, "gate_init": 0.4},
        {"base": "autodeepfm", "batch_size": 333},
    ],
)
def test_the_trace_of_other_searches(planted: Planting, change: dict) -> None:
    config, rows = SMALL.model_copy(update=change), planted.rows[:5000]
    architecture, trace = search(rows, planted.schema, config, Hyperparameters(embedding_size=4, hidden=(8,)))
    check_trace(config, len(rows), architecture, trace)
    assert trace.hyperparameters["mu"] == config.mu


@pytest.mark.parametrize(("rows", "steps"), [(300, 5), (8000, 80), (30_000, 80), (200_000, 100)])
def test_small_data_make_small_batches(planted: Planting, rows: int, steps: int) -> None:
    repeated = planted.rows[torch.arange(rows) % len(planted.rows)]
    config = DEFAULT.model_copy(update={"epochs": 1, "warm_up": 0})
    _, trace = search(repeated, planted.schema, config, Hyperparameters(embedding_size=1))
    assert trace.steps == trace.path_steps[-1] == steps


def test_given_c_overrides_threshold(planted: Planting) -> None:
    config = SMALL.model_copy(
        update={"c": 0.01, "mu": 0.7, "epochs": 1, "gate_decay": 1.0, "batch_size": 500}
    )
    _, trace = search(planted.rows[:5000], planted.schema, config, HYPER)
    assert trace.path_threshold[-1] == pytest.approx(0.01 * 10**0.7)


def test_a_threshold_that_no_gate_reaches_keeps_nothing(planted: Planting) -> None:
    config = SMALL.model_copy(update={"threshold": 1e3, "order": 3, "epochs": 1})
    architecture, trace = search(planted.rows[:5000], planted.schema, config, HYPER)
    assert architecture.interactions == ()
    assert len(trace.candidates) == 15 + 20


def test_columns_of_every_kind_can_be_searched() -> None:
    schema = schema_of(("categorical", 9), ("multivalued", 5, 3), ("numeric", 2))
    _, trace = search(rows_of(schema, 600), schema, AutoFISConfig(batch_size=100, epochs=1), HYPER)
    assert len(trace.candidates) == 3


def test_diverged_search_raises() -> None:
    schema = categorical_schema(3)
    # beyond the bounds of a configuration, so that weights overflow at once
    config = AutoFISConfig(batch_size=100, epochs=1).model_copy(update={"learning_rate": 1e30})
    with pytest.raises(ValueError, match="diverged"):
        search(rows_of(schema, 2000), schema, config, HYPER)
