"""AutoPI's graphs: random cells, and the strongest operators of a cell.

E edges of a cell, O operators.
"""

from collections.abc import Sequence

import numpy as np

from ctrloom.architecture import OPERATORS, CellGraph, Edge, Operator
from ctrloom.models.autopi import ENSEMBLE_INPUTS, INTERACTION_INPUTS
from ctrloom.search_trace import CellName

KEPT = 2  # edges into a node


def strongest(
    edges: Sequence[tuple[int, int]],
    strength_EO: Sequence[Sequence[float]],
    operators: Sequence[Operator] = OPERATORS,
) -> tuple[Edge, ...]:
    """The two strongest operators into each node, from distinct predecessors (AutoPI, section 4.4.1).

    Ties are broken by the order of edges and of `operators`.
    """
    best = [
        Edge(source=source, target=target, operator=operators[row.index(max(row))], strength=max(row))
        for (source, target), row in zip(edges, map(list, strength_EO), strict=True)
    ]
    kept: dict[int, list[Edge]] = {}
    for edge in sorted(best, key=lambda edge: -(edge.strength or 0)):
        kept.setdefault(edge.target, []).append(edge)
    chosen = [edge for incoming in kept.values() for edge in incoming[:KEPT]]
    return tuple(sorted(chosen, key=lambda edge: (edge.target, edge.source)))


def random_graph(
    nodes: int, seed: int | Sequence[int], operators: Sequence[Operator] = OPERATORS
) -> CellGraph:
    """Two cells in which every node has two uniformly drawn predecessors, or one if there is only one."""
    return drawn_graph(nodes, np.random.default_rng(seed), operators)


def drawn_graph(nodes: int, rng: np.random.Generator, operators: Sequence[Operator] = OPERATORS) -> CellGraph:
    """As `random_graph`, with a given random generator."""
    interaction, ensemble = (
        _random_cell(inputs, nodes, rng, operators) for inputs in (INTERACTION_INPUTS, ENSEMBLE_INPUTS)
    )
    return CellGraph(nodes=nodes, interaction=interaction, ensemble=ensemble)


def places(graph: CellGraph) -> list[tuple[CellName, int, int, Operator]]:
    """Cell, source, target and operator of every edge."""
    cells: tuple[tuple[CellName, tuple[Edge, ...]], ...] = (
        ("interaction", graph.interaction),
        ("ensemble", graph.ensemble),
    )
    return [(name, e.source, e.target, e.operator) for name, edges in cells for e in edges]


def _random_cell(
    inputs: int, nodes: int, rng: np.random.Generator, operators: Sequence[Operator]
) -> tuple[Edge, ...]:
    return tuple(
        Edge(source=int(source), target=node, operator=operators[int(rng.integers(len(operators)))])
        for node in range(inputs, inputs + nodes)
        for source in sorted(rng.choice(node, min(KEPT, node), replace=False))
    )
