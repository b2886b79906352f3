"""Operators by what the mixture loses without them, not by their strengths.

Strengths say what the mixture learned through first, and that favours operators with few weights. So one
operator after the other is taken out, and the one that is missed most stays; then the same with the edges
into each node (Wang et al., Rethinking architecture selection in differentiable NAS, ICLR 2021, section 4;
without the training between decisions).

E edges of a cell, O operators.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ctrloom.architecture import OPERATORS, CellGraph, Edge, Operator
from ctrloom.nn.cells import MixedCell
from ctrloom.progress import progress
from ctrloom.search.cell_graphs import KEPT
from ctrloom.search_trace import CellName


@torch.no_grad()
def most_missed(cells: Mapping[CellName, MixedCell], loss: Callable[[], float]) -> CellGraph:
    """The graph that is left when every edge has one operator and every node two edges.

    Per cell every edge decides, then every node, each with the decisions before it in force; the cells end as
    the graph that is returned. `loss` is asked of the mixture as it stands.
    """
    edges, nodes = {}, 0
    with progress("choosing operators", sum(_questions(cell) for cell in cells.values())) as advance:

        def rises(of: Tensor, places: Sequence[int]) -> list[float]:
            """The loss without each of these."""
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
            operator_E = [_one_operator(alpha_EO[e], rises) for e in range(len(cell.edges))]
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


def _one_operator(alpha_O: Tensor, rises: Callable[[Tensor, Sequence[int]], list[float]]) -> Operator:
    """Leave the operator that is missed most."""
    missed = rises(alpha_O, range(len(alpha_O)))
    best = missed.index(max(missed))
    alpha_O.fill_(-math.inf)
    alpha_O[best] = 0.0
    return OPERATORS[best]


def _questions(cell: MixedCell) -> int:
    """How often the loss is asked for."""
    into = [sum(target == node for _, target in cell.edges) for node in cell.nodes]
    return len(cell.edges) * len(OPERATORS) + sum(count for count in into if count > KEPT)
