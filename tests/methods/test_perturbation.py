"""Perturbation-based selection, with known contributions of operators and edges."""

import numpy as np
import pytest
import torch

from ctrloom.architecture import OPERATORS
from ctrloom.methods.perturbation import most_missed
from ctrloom.nn.cells import MixedCell
from ctrloom.nn.operators import Shape

SHAPE = Shape(fields=3, size=2, heads=1, reduction=3)


@pytest.mark.parametrize("seed", range(5))
def test_most_missed_operators_and_edges_are_kept(seed: int) -> None:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    cells = {"interaction": MixedCell(1, 3, SHAPE), "ensemble": MixedCell(2, 3, SHAPE)}
    worth = {name: rng.random(cell.alpha_EO.shape) for name, cell in cells.items()}
    edge_worth = {name: rng.random(len(cell.edges)) for name, cell in cells.items()}
    asked = 0

    def loss() -> float:
        nonlocal asked
        asked += 1
        gone = 0.0
        for name, cell in cells.items():
            gone += worth[name][torch.isinf(cell.alpha_EO.detach()).numpy()].sum()
            gone += edge_worth[name][torch.isinf(cell.beta_E.detach()).numpy()].sum()
        return gone

    graph = most_missed(cells, loss)  # type: ignore[arg-type]
    for name, edges in (("interaction", graph.interaction), ("ensemble", graph.ensemble)):
        cell = cells[name]
        for node in cell.nodes:
            into = [e for e, (_, target) in enumerate(cell.edges) if target == node]
            best = sorted(into, key=lambda e: -edge_worth[name][e])[:2]
            expected = {(cell.edges[e][0], OPERATORS[int(worth[name][e].argmax())]) for e in best}
            assert {(e.source, e.operator) for e in edges if e.target == node} == expected
    assert (
        asked == (6 + 9) * 6 + 3 + 3 + 4
    )  # all operators of every edge, and all edges of nodes with more than two


def test_cells_end_as_the_graph_with_unchanged_weights() -> None:
    torch.manual_seed(0)
    cells = {"interaction": MixedCell(1, 3, SHAPE).eval(), "ensemble": MixedCell(2, 3, SHAPE).eval()}
    before = {n: p.clone() for n, p in cells["ensemble"].mixtures.named_parameters()}
    x_BFD = torch.randn(5, 3, 2)

    def loss() -> float:
        return float(cells["ensemble"]([x_BFD, cells["interaction"]([x_BFD])[-1]])[-1].square().mean())

    graph = most_missed(cells, loss)  # type: ignore[arg-type]
    strength_EO = cells["ensemble"].strengths()
    kept = {(e.source, e.target, e.operator) for e in graph.ensemble}
    alive = {
        (*edge, OPERATORS[o])
        for edge, strength_O in zip(cells["ensemble"].edges, strength_EO.tolist(), strict=True)
        for o, strength in enumerate(strength_O)
        if strength > 0
    }
    assert alive == kept
    torch.testing.assert_close(strength_EO.sum(), torch.tensor(3.0))
    assert all(torch.equal(p, before[n]) for n, p in cells["ensemble"].mixtures.named_parameters())
