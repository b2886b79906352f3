"""The report of an AutoPI search: the graph, the strengths, and no individual interactions."""

from pathlib import Path

import numpy as np
import pytest
from invented_results import made_up

from ctrloom.architecture import OPERATORS, CellGraph, Edge
from ctrloom.report.render import render
from ctrloom.search_trace import CellName, OperatorStrength, SampledGraph, SearchTrace

EDGES: dict[CellName, tuple[tuple[int, int], ...]] = {
    "interaction": ((0, 1), (0, 2), (1, 2)),
    "ensemble": ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)),
}
KEPT = {"interaction": {(0, 1), (0, 2), (1, 2)}, "ensemble": {(0, 2), (1, 2), (0, 3), (2, 3)}}


def made_up_search(random: bool = False) -> SearchTrace:
    """Strengths of two cells with two nodes each, or random graphs."""
    rng, operators = np.random.default_rng(0), []
    for cell, edges in EDGES.items():
        for source, target in edges:
            strengths = rng.dirichlet(np.ones(6)) / sum(t == target for _, t in edges)
            for name, strength in zip(OPERATORS, strengths.tolist(), strict=True):
                kept = (source, target) in KEPT[cell] and strength == strengths.max()
                if kept or not random:
                    shown = None if random else strength
                    each = {"cell": cell, "source": source, "target": target, "operator": name}
                    operators.append(OperatorStrength(**each, strength=shown, kept=kept))
    cells: dict[CellName, tuple[Edge, ...]] = {
        cell: tuple(
            Edge(source=o.source, target=o.target, operator=o.operator)
            for o in operators
            if o.kept and o.cell == cell
        )
        for cell in EDGES
    }
    graph = CellGraph(nodes=2, **cells)
    samples = [
        SampledGraph(cells=graph, valid_auc=auc, valid_logloss=0.2, seconds=9.0) for auc in (0.91, 0.95, 0.93)
    ]
    _, like = made_up()
    empty = {"candidates": (), "orders": (), "path_steps": (), "path_scores": (), "path_threshold": ()}
    own = {"method": "autopi", "base": "autopi", "operators": operators, "samples": samples if random else ()}
    return SearchTrace.model_validate({**like.model_dump(), **empty, **own})


@pytest.mark.parametrize("random", [False, True])
def test_report_draws_the_graph_without_pairs(random: bool, tmp_path: Path) -> None:
    results, _ = made_up()
    render(results, made_up_search(random), tmp_path / "report.html")
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "The search kept 7 operators" in source
    assert "The interaction cell: operators between its nodes" in source
    assert "The ensemble cell: operators between its nodes" in source
    assert "0 of 0" not in source
    assert ("Strengths of all operators" in source) is not random
    assert ("validation AUC from 0.9100 to 0.9500" in source) is random


def test_one_shot_report_explains_its_numbers(tmp_path: Path) -> None:
    results, _ = made_up()
    samples = made_up_search(True).samples
    trace = made_up_search().model_copy(
        update={"hyperparameters": {"strategy": "one_shot"}, "samples": samples}
    )
    render(results, trace, tmp_path / "report.html")
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "How often each operator occurs in the best tenth of the candidates" in source
    assert "Strengths of all operators" not in source
    assert "The best of 3 finalists, each trained briefly from scratch" in source


def test_planted_interactions_are_not_compared_with_a_graph(tmp_path: Path) -> None:
    results, _ = made_up()
    trace = made_up_search().model_copy(update={"planted": (("user", "item"),)})
    render(results, trace, tmp_path / "report.html")
    assert "Planted interactions" not in (tmp_path / "report.html").read_text(encoding="utf-8")
