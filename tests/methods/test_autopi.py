import math
from typing import Any

import numpy as np
import pytest
import torch
from small import Planting, planting, rows_of, schema_of

from ctrloom.architecture import OPERATORS, Architecture
from ctrloom.config import AutoPIConfig, AutoPISettings, Hyperparameters
from ctrloom.config.base import ConfigError
from ctrloom.data.batches.batch import Batch
from ctrloom.methods import autopi
from ctrloom.methods.autopi import temperature
from ctrloom.methods.cell_graphs import random_graph, strongest
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.models import build
from ctrloom.nn.operators import Skip
from ctrloom.training.loop import fit, seed_everything

CONFIG = AutoPIConfig(nodes=2, epochs=4, batch_size=500, random_draws=2)
HYPER = AutoPISettings(embedding_size=4, epochs=6, batch_size=500, learning_rate=0.01)


def split(made: Planting, valid: int = 4000) -> SearchData:
    rows = made.rows
    return SearchData(rows[: len(rows) - valid], rows[len(rows) - valid :], made.schema)


@pytest.fixture(scope="module")
def made() -> Planting:
    return planting(rows=14_000, fields=5, sizes=(8,), pairs=3, seed=1)


@pytest.fixture(scope="module")
def found(made: Planting) -> SearchResult:
    return autopi.search(split(made), CONFIG, HYPER)


def valid_auc(name: str, architecture: Architecture, task: SearchData, hyper: Hyperparameters) -> float:
    seed_everything(0)
    model = build(name, architecture, task.schema, hyper)  # type: ignore[arg-type]
    return fit(model, task.train, task.valid, hyper, 0, name).best_epoch.valid_auc


def test_found_graph_beats_lr_on_planted_pairs(made: Planting, found: SearchResult) -> None:
    task = split(made)
    lr = Hyperparameters(epochs=6, batch_size=500, learning_rate=0.01)
    plain = valid_auc("lr", Architecture.complete(made.schema.names), task, lr)
    assert valid_auc("autopi", found.architecture, task, HYPER) > plain + 0.05


def test_graph_has_the_strongest_operators(found: SearchResult) -> None:
    cells, trace = found.architecture.cells, found.trace
    assert cells is not None
    for name, edges, count in (("interaction", cells.interaction, 3), ("ensemble", cells.ensemble, 5)):
        own = [o for o in trace.operators if o.cell == name]
        places = list(dict.fromkeys((o.source, o.target) for o in own))
        assert len(own) == count * len(OPERATORS) == len(places) * len(OPERATORS)
        rows = np.array([o.strength for o in own], dtype=float).reshape(count, len(OPERATORS))
        for node in {target for _, target in places}:
            assert rows[[t == node for _, t in places]].sum() == pytest.approx(1)
        assert strongest(places, rows.tolist()) == edges
        kept = {(o.source, o.target, o.operator) for o in own if o.kept}
        assert kept == {(e.source, e.target, e.operator) for e in edges}
    learned = [o.strength for o in trace.operators if o.strength is not None]
    assert max(learned) > 1.05 * min(learned)


def test_perturbation_graph_beats_lr_on_planted_pairs(made: Planting) -> None:
    task = split(made)
    config = CONFIG.model_copy(update={"choose_by": "perturbation", "choosing_rows": 1000})
    found = autopi.search(task, config, HYPER)
    cells = found.architecture.cells
    assert cells is not None
    kept = {(o.cell, o.source, o.target, o.operator) for o in found.trace.operators if o.kept}
    assert kept == {
        (name, e.source, e.target, e.operator)
        for name, edges in (("interaction", cells.interaction), ("ensemble", cells.ensemble))
        for e in edges
    }
    assert all(o.strength is not None and 0 < o.strength < 1 for o in found.trace.operators)
    lr = Hyperparameters(epochs=6, batch_size=500, learning_rate=0.01)
    plain = valid_auc("lr", Architecture.complete(made.schema.names), task, lr)
    assert valid_auc("autopi", found.architecture, task, HYPER) > plain + 0.05


def test_trace_reports_the_cost(found: SearchResult) -> None:
    trace = found.trace
    assert (trace.method, trace.base, trace.orders, trace.candidates) == ("autopi", "autopi", (), ())
    assert trace.epochs == 4
    assert trace.steps == 4 * 10  # half of 10,000 rows in batches of 500
    assert trace.rows_per_second * trace.seconds == pytest.approx((2 * 4 - 1) * 5_000)  # one epoch is frozen
    assert trace.hyperparameters["nodes"] == 2
    assert found.architecture.method == "autopi"
    assert found.architecture.interactions == ()


def test_controls_are_random_graphs_of_the_same_size(found: SearchResult) -> None:
    graphs = [control.cells for control in found.controls["random"]]
    assert graphs == [random_graph(2, seed) for seed in CONFIG.draw_seeds]


def test_the_same_seed_finds_the_same_strengths(made: Planting) -> None:
    rows, config = made.rows[:3000], CONFIG.model_copy(update={"epochs": 2})
    first, again, other = (
        autopi.search(
            SearchData(rows, rows[:500], made.schema), config.model_copy(update={"seed": seed}), HYPER
        ).trace
        for seed in (0, 0, 1)
    )
    assert first.operators == again.operators
    assert first.operators != other.operators


def test_weights_and_strengths_are_trained_on_disjoint_rows(
    made: Planting, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = torch.arange(2000, dtype=torch.float32)
    rows = Batch(made.rows.ids_NC[:2000], made.rows.label_N[:2000], weight_N=marked + 1)
    seen: dict[str, set[float]] = {"weights": set(), "gates": set()}

    def noting(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        assert batch.weight_N is not None
        seen["gates"] |= set(batch.weight_N.tolist())
        return loss(model, batch)

    loss, epoch = autopi.loss_of, autopi.run_epoch

    def epoch_noting(step, passes, *rest):  # type: ignore[no-untyped-def]
        seen["weights"] |= set(passes.rows.weight_N.tolist())
        return epoch(step, passes, *rest)

    monkeypatch.setattr(autopi, "loss_of", noting)
    monkeypatch.setattr(autopi, "run_epoch", epoch_noting)
    autopi.search(SearchData(rows, rows[:100], made.schema), CONFIG, HYPER)
    assert len(seen["weights"]) == len(seen["gates"]) == 1000
    assert seen["weights"].isdisjoint(seen["gates"])


def test_frozen_epochs_do_not_update_strengths(made: Planting, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    gates = autopi._BiLevel._weights_and_gates

    def counting(self: autopi._BiLevel, batch: Batch) -> None:
        steps.append(len(self.train))
        gates(self, batch)

    monkeypatch.setattr(autopi._BiLevel, "_weights_and_gates", counting)
    rows = made.rows[:2000]
    task = SearchData(rows, rows[:200], made.schema)
    for epochs, frozen, free in ((3, 15, 2), (6, 1, 5), (2, 15, 2)):
        steps.clear()
        config = CONFIG.model_copy(update={"epochs": epochs, "frozen": frozen})
        autopi.search(task, config, HYPER)
        assert len(steps) == free * 2  # steps of 500 in 1,000 rows


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weights_follow_the_configured_optimizer(made: Planting, optimizer: str) -> None:
    rows = made.rows[:400]
    settings = {"optimizer": optimizer, "learning_rate": 0.01, "embedding_l2": 0.5, "weight_decay": 0.3}
    config = CONFIG.model_copy(update={**settings, "clip": 1e9})
    one = autopi._BiLevel(SearchData(rows, rows, made.schema), config, HYPER)
    names = {id(p): name for name, p in one.model.named_parameters()}
    before = {names[id(p)]: p.detach().clone() for p in one.weights}
    gates = [gate.detach().clone() for gate in one.gates]
    autopi.loss_of(one.model, one.train).backward()
    gradient = {name: one.model.get_parameter(name).grad.clone() for name in before}
    one._weights()
    assert all(torch.equal(gate, old) for gate, old in zip(one.gates, gates, strict=True))
    tables = {"high.weight", "low.weight"}
    assert tables < set(before)
    for name, old in before.items():
        g, moved = gradient[name].double(), one.model.get_parameter(name).detach().double() - old.double()
        if optimizer == "sgd":
            expected = -0.01 * (g + 0.3 * old.double())
        else:  # the first step of Adam
            g = g + (0.5 * old.double() if name in tables else 0)
            expected = -0.01 * g / (g.abs() + 1e-8)
        torch.testing.assert_close(moved, expected, rtol=2e-3, atol=2e-6)


def test_temperature_decreases_to_1() -> None:
    assert temperature(1, 20) == pytest.approx(1 + math.log(20))
    assert temperature(20, 20) == 1
    assert temperature(4, 20) == pytest.approx((1 + math.log(20)) / (1 + math.log(4)))
    assert temperature(1, 1) == 1


def test_noisy_skips_are_optional(made: Planting) -> None:
    rows = made.rows[:100]
    for noisy, noise in ((False, 0.0), (True, 0.03)):
        config = CONFIG.model_copy(update={"noisy_skip": noisy})
        model = autopi._BiLevel(SearchData(rows, rows, made.schema), config, HYPER).model
        assert {module.noise for module in model.modules() if isinstance(module, Skip)} == {noise}


@pytest.mark.parametrize("left_out", OPERATORS)
@pytest.mark.parametrize("how", ["strength", "perturbation", "one_shot", "random"])
def test_a_search_without_an_operator_is_over_the_others(made: Planting, left_out: str, how: str) -> None:
    rows, others = made.rows[:600], tuple(name for name in OPERATORS if name != left_out)
    task = SearchData(rows[:500], rows[500:], made.schema)
    raw: dict[str, Any] = {"nodes": 2, "epochs": 1, "batch_size": 250, "operators": others, "seed": 3}
    raw |= {"strategy": how} if how in ("one_shot", "random") else {"choose_by": how}
    raw |= {"candidates": 8, "finalists": 1, "finalist_epochs": 1, "samples": 1, "choosing_rows": 50}
    found = autopi.search(task, AutoPIConfig.parse(raw, "search"), HYPER.model_copy(update={"epochs": 1}))
    offered = {operator.operator for operator in found.trace.operators}
    assert offered <= set(others)
    assert how == "random" or len(found.trace.operators) == (3 + 5) * 5
    graphs = [found.architecture, *(each for same in found.controls.values() for each in same)]
    for graph in graphs:
        assert graph.cells
        assert {edge.operator for edge in (*graph.cells.interaction, *graph.cells.ensemble)} <= set(others)


def test_operators_are_those_of_architectures_and_distinct() -> None:
    assert AutoPIConfig().operators == OPERATORS
    for raw, message in (
        ({"operators": ["fm", "fm"]}, "operators: must be distinct"),
        ({"operators": []}, "operators"),
        ({"operators": ["fm"], "noisy_skip": True}, "add skip to operators"),
        ({"strategy": "one_shot", "anneal": False}, "strategy: differentiable only, not to one_shot"),
    ):
        with pytest.raises(ConfigError, match=message):
            AutoPIConfig.parse(raw, "search")


def test_the_best_of_random_graphs_is_the_best_on_validation_rows(made: Planting) -> None:
    rows = made.rows[:6000]
    task = SearchData(rows[:5000], rows[5000:], made.schema)
    config = CONFIG.model_copy(update={"strategy": "random", "samples": 3, "seed": 4})
    hyper = HYPER.model_copy(update={"epochs": 2, "monitor": "logloss"})
    found = autopi.search(task, config, hyper)
    samples = found.trace.samples
    assert [sample.cells for sample in samples] == [random_graph(2, seed) for seed in (4, 5, 6)]
    best = min(samples, key=lambda sample: sample.valid_logloss)
    assert found.architecture.cells == best.cells
    assert all(operator.kept and operator.strength is None for operator in found.trace.operators)
    assert found.trace.epochs == 6
    assert found.trace.seconds >= sum(sample.seconds for sample in samples)
    assert found.controls == {}
    # Training that graph individually gives the same metrics.
    seed_everything(4)
    model = build("autopi", found.architecture, task.schema, hyper)
    assert (
        fit(model, task.train, task.valid, hyper, 4, "again").best_epoch.valid_logloss == best.valid_logloss
    )


def test_columns_of_every_kind_can_be_searched() -> None:
    schema = schema_of(("categorical", 9), ("multivalued", 5, 3), ("numeric", 2))
    rows = rows_of(schema, 600)
    found = autopi.search(
        SearchData(rows, rows[:100], schema), CONFIG.model_copy(update={"epochs": 1}), HYPER
    )
    assert len(found.trace.operators) == (3 + 5) * len(OPERATORS)
