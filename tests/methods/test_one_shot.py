"""One-shot search with shared weights."""

from collections import Counter

import numpy as np
import pytest
import torch
from small import Planting, planting, rows_of, schema_of

from ctrloom.architecture import OPERATORS, Architecture, CellGraph
from ctrloom.config import AutoPIConfig, AutoPISettings, Hyperparameters
from ctrloom.methods import autopi, one_shot
from ctrloom.methods.cell_graphs import places, random_graph
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.models import build
from ctrloom.models.autopi import AutoPI
from ctrloom.training.loop import fit, seed_everything
from ctrloom.training.short_fit import fit_briefly
from ctrloom.training.step import loss_of

CONFIG = AutoPIConfig(
    strategy="one_shot",
    nodes=2,
    epochs=3,
    batch_size=500,
    candidates=30,
    choosing_rows=2000,
    finalists=3,
    finalist_epochs=2,
    random_draws=2,
    seed=3,
)
HYPER = AutoPISettings(embedding_size=4, dropout=0, epochs=6, batch_size=700, learning_rate=0.01)


@pytest.fixture(scope="module")
def made() -> Planting:
    return planting(rows=14_000, fields=5, sizes=(8,), pairs=3, seed=1)


@pytest.fixture(scope="module")
def task(made: Planting) -> SearchData:
    return SearchData(made.rows[:10_000], made.rows[10_000:], made.schema)


@pytest.fixture(scope="module")
def found(task: SearchData) -> SearchResult:
    return autopi.search(task, CONFIG, HYPER)


def test_best_finalist_on_validation_rows_is_selected(task: SearchData, found: SearchResult) -> None:
    samples = found.trace.samples
    assert len({sample.cells for sample in samples}) == len(samples) == 3
    best = min(samples, key=lambda sample: sample.valid_logloss)
    assert found.architecture.cells == best.cells
    seed_everything(3)
    model = build("autopi", found.architecture, task.schema, HYPER)
    brief = HYPER.model_copy(update={"epochs": 2, "batch_size": 500})
    again = fit_briefly(model, task.train, task.valid, brief, 3, "again")
    assert again.best_epoch.valid_logloss == best.valid_logloss


def test_one_shot_graph_beats_lr_on_planted_pairs(task: SearchData, found: SearchResult) -> None:
    seed_everything(0)
    hyper = Hyperparameters(epochs=6, batch_size=500, learning_rate=0.01)
    lr = build("lr", Architecture.complete(task.schema.names), task.schema, hyper)
    plain = fit(lr, task.train, task.valid, hyper, 0, "lr").best_epoch.valid_auc
    assert max(sample.valid_auc for sample in found.trace.samples) > plain + 0.05


def test_finalists_have_the_lowest_shared_weight_loss(
    task: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[CellGraph], np.ndarray]] = []
    losses = one_shot._Shared.losses

    def noting(self: one_shot._Shared, graphs: list[CellGraph]) -> np.ndarray:
        seen.append((graphs, losses(self, graphs)))
        return seen[-1][1]

    monkeypatch.setattr(one_shot._Shared, "losses", noting)
    found = autopi.search(task, CONFIG.model_copy(update={"epochs": 1, "finalist_epochs": 1}), HYPER)
    ((graphs, loss_C),) = seen
    assert len(graphs) == 30
    ordered = sorted(zip(loss_C, range(30), strict=True))
    assert [sample.cells for sample in found.trace.samples] == [graphs[c] for _, c in ordered[:3]]

    # The heat map: operator frequencies of the best three of thirty.
    best = [graphs[c] for _, c in ordered[:3]]
    for operator in found.trace.operators:
        place = (operator.cell, operator.source, operator.target, operator.operator)
        assert operator.kept == (place in places(found.architecture.cells))  # type: ignore[arg-type]
        edges = 1 if (operator.cell, operator.target) == ("interaction", 1) else 2
        share = sum(place in places(graph) for graph in best) / (3 * edges)
        assert operator.strength == pytest.approx(share)
    assert len(found.trace.operators) == (3 + 5) * len(OPERATORS)


def test_shared_model_with_active_graph_matches_that_graph(task: SearchData) -> None:
    shared, graph = one_shot._Shared(task, CONFIG, HYPER), random_graph(2, 5)
    shared.become(graph)
    found = Architecture(method="autopi", fields=task.schema.names, interactions=(), cells=graph)
    model = build("autopi", found, task.schema, HYPER)
    assert isinstance(model, AutoPI)
    for name, cell in (("interaction", model.interaction), ("ensemble", model.ensemble)):
        of_all = shared.cells[name]  # type: ignore[index]
        for edge, operator in zip(cell.edges, cell.operators, strict=True):  # type: ignore[arg-type]
            operator.load_state_dict(of_all.operators[of_all.edges.index(edge)].state_dict())
    for part in ("high", "low", "combine", "out"):
        getattr(model, part).load_state_dict(getattr(shared.model, part).state_dict())
    rows = task.train[:300]
    torch.testing.assert_close(loss_of(model, rows), loss_of(shared.model, rows))
    loss_of(shared.model, rows).backward()
    trained = {
        (name, edge.source, edge.target, edge.operator)
        for name, cell in shared.cells.items()
        for edge, operator in zip(cell.edges, cell.operators, strict=True)
        if any(p.grad is not None for p in operator.parameters())  # type: ignore[attr-defined]
    }
    assert trained == {place for place in places(graph) if place[3] != "skip"}


def test_every_step_trains_a_new_graph(task: SearchData, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[CellGraph] = Counter()
    become = one_shot._Shared.become

    def noting(self: one_shot._Shared, graph: CellGraph) -> None:
        seen[graph] += 1
        become(self, graph)

    monkeypatch.setattr(one_shot._Shared, "become", noting)
    one_shot._Shared(task, CONFIG, HYPER).learn(np.random.default_rng(0))
    assert seen.total() == 3 * 20  # of 10,000 rows in batches of 500
    assert len(seen) > 55


def test_same_seed_gives_the_same_search(task: SearchData) -> None:
    few = CONFIG.model_copy(update={"epochs": 1, "candidates": 8, "finalists": 2, "finalist_epochs": 1})
    small = SearchData(task.train[:3000], task.valid[:1000], task.schema)
    first, again, other = (
        autopi.search(small, few.model_copy(update={"seed": seed}), HYPER) for seed in (0, 0, 1)
    )
    assert first.architecture.cells == again.architecture.cells
    assert first.trace.operators == again.trace.operators != other.trace.operators


def test_trace_reports_the_cost_and_controls_are_random_graphs(found: SearchResult) -> None:
    trace = found.trace
    assert (trace.method, trace.epochs, trace.steps) == ("autopi", 3, 3 * 20)
    assert trace.seconds > sum(sample.seconds for sample in trace.samples)
    assert trace.hyperparameters["strategy"] == "one_shot"
    graphs = [control.cells for control in found.controls["random"]]
    assert graphs == [random_graph(2, seed) for seed in CONFIG.draw_seeds]


def test_columns_of_every_kind_can_be_searched() -> None:
    schema = schema_of(("categorical", 9), ("multivalued", 5, 3), ("numeric", 2))
    rows = rows_of(schema, 600)
    few = CONFIG.model_copy(update={"epochs": 1, "candidates": 4, "finalists": 1, "finalist_epochs": 1})
    found = autopi.search(SearchData(rows, rows[:100], schema), few, HYPER)
    assert len(found.trace.samples) == 1
