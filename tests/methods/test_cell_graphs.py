from itertools import combinations, product

import numpy as np
import pytest

from ctrloom.architecture import OPERATORS, Edge
from ctrloom.methods.cell_graphs import random_graph, strongest


def edges_of(inputs: int, nodes: int) -> list[tuple[int, int]]:
    count = inputs + nodes
    return [(i, j) for i in range(count) for j in range(max(inputs, i + 1), count)]


def best_pairs(edges: list[tuple[int, int]], strength: np.ndarray, node: int) -> set[tuple[int, int]]:
    """The strongest two operators into a node from distinct sources, by brute force."""
    into = [e for e, (_, target) in enumerate(edges) if target == node]
    choices = product(combinations(into, min(2, len(into))), product(range(6), repeat=min(2, len(into))))
    chosen, operators = max(choices, key=lambda c: sum(strength[e, o] for e, o in zip(*c, strict=True)))
    return set(zip(chosen, operators, strict=True))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("inputs", "nodes"), [(1, 4), (2, 4), (2, 1), (1, 3)])
def test_strongest_keeps_two_operators_from_distinct_nodes(inputs: int, nodes: int, seed: int) -> None:
    edges = edges_of(inputs, nodes)
    strength = np.random.default_rng(seed).random((len(edges), 6))
    kept = strongest(edges, strength.tolist())
    for node in range(inputs, inputs + nodes):
        expected = {
            Edge(source=edges[e][0], target=node, operator=OPERATORS[o], strength=strength[e, o])
            for e, o in best_pairs(edges, strength, node)
        }
        assert {edge for edge in kept if edge.target == node} == expected
    assert [(e.target, e.source) for e in kept] == sorted((e.target, e.source) for e in kept)


def test_strongest_breaks_ties_by_order() -> None:
    kept = strongest([(0, 3), (1, 3), (2, 3)], [[0.1] * 6] * 3)
    assert [(e.source, e.operator) for e in kept] == [(0, "skip"), (1, "skip")]


def test_random_graphs_have_the_size_of_found_ones_and_differ() -> None:
    graphs = [random_graph(4, seed) for seed in range(60)]
    for graph in graphs:
        assert [sum(e.target == node for e in graph.interaction) for node in range(1, 5)] == [1, 2, 2, 2]
        assert [sum(e.target == node for e in graph.ensemble) for node in range(2, 6)] == [2, 2, 2, 2]
        for cell in (graph.interaction, graph.ensemble):
            assert len({(e.source, e.target) for e in cell}) == len(cell)
    assert len({graph.model_dump_json() for graph in graphs}) == 60
    assert random_graph(4, 7) == graphs[7]
    every = [e for graph in graphs for e in (*graph.interaction, *graph.ensemble)]
    assert {e.operator for e in every} == set(OPERATORS)
    into_last = {e.source for graph in graphs for e in graph.ensemble if e.target == 5}
    assert into_last == {0, 1, 2, 3, 4}
