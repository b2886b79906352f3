"""Perturbation-based selection of operators: by the loss without them instead of by their strengths.

Strengths favour operators with few weights, which learn first. Here each operator of an edge is masked in
turn, and the one whose removal increases the loss most is kept; then the same for the edges into each node
(Wang et al., Rethinking architecture selection in differentiable NAS, ICLR 2021, section 4; without training
between decisions).

E edges of a cell, O operators.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ctrloom.architecture import CellGraph, Edge
from ctrloom.methods.cell_graphs import KEPT
from ctrloom.nn.cells import MixedCell
from ctrloom.progress import progress
from ctrloom.search_trace import CellName


@torch.no_grad()
def most_missed(cells: Mapping[CellName, MixedCell], loss: Callable[[], float]) -> CellGraph:
    """The graph with one operator per edge and two edges per node.

    In each cell all edges are decided first, then all nodes, each given the previous decisions; the cells are
    modified in place to the returned graph. `loss` evaluates their current state.
    """
    edges, nodes = {}, 0
    with progress("choosing operators", sum(_questions(cell) for cell in cells.values())) as advance:

        def rises(of: Tensor, places: Sequence[int]) -> list[float]:
            """The loss with each entry masked in turn."""
            found = []
            for place in places:
                weight = of[place].clone()
                of[place] = -math.inf
                found.append(loss())
                of[place] = weight
                advance(1)
            return found

        for name, cell in cells.items():
            cell.temperature, nodes = 1.0, len(cell.nodes)
            kept: list[Edge] = []
            alpha_EO, beta_E = cell.alpha_EO.detach(), cell.beta_E.detach()
            operator_E = [cell.operators[_only_one(alpha_O, rises)] for alpha_O in alpha_EO]
            for node in cell.nodes:
                into = [e for e, (_, target) in enumerate(cell.edges) if target == node]
                missed = rises(beta_E, into) if len(into) > KEPT else [0.0] * len(into)
                ranked = sorted(zip(missed, into, strict=True), key=lambda entry: -entry[0])
                beta_E[[e for _, e in ranked[KEPT:]]] = -math.inf
                kept += [
                    Edge(source=cell.edges[e][0], target=node, operator=operator_E[e])
                    for e in sorted(e for _, e in ranked[:KEPT])
                ]
            edges[name] = tuple(kept)
    return CellGraph(nodes=nodes, **edges)


def _only_one(alpha_O: Tensor, rises: Callable[[Tensor, Sequence[int]], list[float]]) -> int:
    """Keep only the operator whose removal increases the loss most; returns its index."""
    missed = rises(alpha_O, range(len(alpha_O)))
    best = missed.index(max(missed))
    alpha_O.fill_(-math.inf)
    alpha_O[best] = 0.0
    return best


def _questions(cell: MixedCell) -> int:
    """Number of loss evaluations."""
    into = [sum(target == node for _, target in cell.edges) for node in cell.nodes]
    return len(cell.edges) * len(cell.operators) + sum(count for count in into if count > KEPT)
