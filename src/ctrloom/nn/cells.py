"""AutoPI's cells: directed graphs whose nodes hold one embedding per field (AutoPI, section 4.2.1).

A cell maps the list of its input nodes, each (B, F, D), to the list of its intermediate nodes.

B batch, E edges, O operators, F fields, D embedding size.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Literal

import torch
from torch import Tensor, nn

from ctrloom.architecture import OPERATORS, Edge, Operator
from ctrloom.nn.field_norm import FieldNorm
from ctrloom.nn.mlp import Dropout
from ctrloom.nn.operators import Shape, operator

Normalized = Literal["operators", "nodes"]  # what is normalised: the outputs of operators, or nodes


class Cell(nn.Module):
    """A derived cell: each intermediate node is the sum of its incoming edges.

    Args:
        inputs: number of input nodes.
        nodes: number of intermediate nodes.
        edges: at least one into every intermediate node.
        shape: shape of every node.
        normalized: what is normalised over the fields: the output of each operator (Eq. 8), each
            intermediate node, or nothing.
        dropout: dropout probability at intermediate nodes.
    """

    def __init__(
        self,
        inputs: int,
        nodes: int,
        edges: Sequence[Edge],
        shape: Shape,
        normalized: Normalized | None = "operators",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.nodes = range(inputs, inputs + nodes)
        self.edges = sorted(edges, key=lambda edge: edge.target)
        self.operators = nn.ModuleList(operator(edge.operator, shape) for edge in self.edges)
        norms = (_norm(shape, normalized == "operators") for _ in self.edges)
        self.norms = nn.ModuleList(norms)
        self.node_norms = nn.ModuleList(_norm(shape, normalized == "nodes") for _ in self.nodes)
        self.dropout = Dropout(dropout)

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """x_j = sum over the edges (i, j) of norm(operator(x_i)), or norm of the sum."""
        x, parts = list(inputs), list(self.parts())
        for node, node_norm in zip(self.nodes, self.node_norms, strict=True):
            terms = [n(op(x[e.source])) for e, op, n in parts if e.target == node]
            x.append(self.dropout(node_norm(_sum(terms))).squeeze(1))
        return x[self.nodes.start :]

    def parts(self) -> Iterable[tuple[Edge, nn.Module, nn.Module]]:
        """Edges with their operators and norms."""
        return zip(self.edges, self.operators, self.norms, strict=True)


class SharedCell(Cell):
    """A cell with all of the given operators on every edge, of which only those in `present` are active.

    Graphs with the same operator on the same edge share its weights.
    """

    def __init__(
        self,
        inputs: int,
        nodes: int,
        shape: Shape,
        operators: Sequence[Operator] = OPERATORS,
        normalized: Normalized = "operators",
    ) -> None:
        edges = [
            Edge(source=source, target=target, operator=name)
            for target in range(inputs, inputs + nodes)
            for source in range(target)
            for name in operators
        ]
        super().__init__(inputs, nodes, edges, shape, normalized)
        self.present = frozenset(edges)

    def parts(self) -> Iterable[tuple[Edge, nn.Module, nn.Module]]:
        """The active edges with their operators and norms."""
        return [part for part in super().parts() if part[0] in self.present]


class MixedCell(nn.Module):
    """A cell under search: every node receives all previous nodes through a mixture of the operators.

    x_j = sum_i softmax_i(beta_ij / t) sum_o softmax_o(alpha_ijo / t) norm(o(x_i)) (Eq. 5, 6 and 8), with
    temperature t; or the norm of x_j instead of those of operators. Edges are ordered by source, then target,
    so that the edges of one source are computed together.
    """

    into_NE: Tensor

    def __init__(
        self,
        inputs: int,
        nodes: int,
        shape: Shape,
        operators: Sequence[Operator] = OPERATORS,
        normalized: Normalized = "operators",
    ) -> None:
        super().__init__()
        self.nodes, self.temperature, self.operators = range(inputs, inputs + nodes), 1.0, tuple(operators)
        sources = range(self.nodes.stop - 1)
        self.edges = [(i, j) for i in sources for j in self.nodes if i < j]
        into_NE = torch.tensor([[target == node for _, target in self.edges] for node in self.nodes])
        self.register_buffer("into_NE", into_NE, persistent=False)
        self.alpha_EO = nn.Parameter(1e-3 * torch.randn(len(self.edges), len(operators)))
        self.beta_E = nn.Parameter(1e-3 * torch.randn(len(self.edges)))
        self.leaving = [sum(i == source for i, _ in self.edges) for source in sources]
        norm = normalized == "operators"
        self.mixtures = nn.ModuleList(Mixture(shape, count, operators, norm) for count in self.leaving)
        self.node_norms = nn.ModuleList(_norm(shape, not norm) for _ in self.nodes)

    def strengths(self, temperature: float = 1.0) -> Tensor:
        """Mixture weight of each operator on each edge (E, O); the weights into one node sum to 1."""
        alpha_EO = torch.softmax(self.alpha_EO / temperature, 1)
        beta_NE = (self.beta_E / temperature).masked_fill(~self.into_NE, -torch.inf)
        return alpha_EO * torch.softmax(beta_NE, 1).sum(0).unsqueeze(1)

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """Intermediate nodes, computed in topological order."""
        x = list(inputs)
        received: dict[int, list[Tensor]] = {node: [] for node in self.nodes}
        strengths = self.strengths(self.temperature).split(self.leaving)
        for source, (mixture, strength_EO) in enumerate(zip(self.mixtures, strengths, strict=True)):
            if source in received:
                x.append(self._node(received, source))
            targets = [node for node in self.nodes if node > source]
            for node, term_BFD in zip(targets, mixture(x[source], strength_EO).unbind(1), strict=True):
                received[node].append(term_BFD)
        return [*x[self.nodes.start :], self._node(received, self.nodes[-1])]

    def _node(self, received: dict[int, list[Tensor]], node: int) -> Tensor:
        x_B1FD: Tensor = self.node_norms[self.nodes.index(node)](_sum(received[node]).unsqueeze(1))
        return x_B1FD.squeeze(1)


class Mixture(nn.Module):
    """The operators on the outgoing edges of one node: (x_BFD, strength_EO) -> (B, E, F, D)."""

    def __init__(self, shape: Shape, edges: int, operators: Sequence[Operator], norm: bool = True) -> None:
        super().__init__()
        self.operators = nn.ModuleList(operator(name, shape, edges) for name in operators)
        counts = [1 if name == "skip" else edges for name in operators]  # a skip is the same on all edges
        norms = (FieldNorm(count, shape.fields) if norm else Strength() for count in counts)
        self.norms = nn.ModuleList(norms)

    def forward(self, x_BFD: Tensor, strength_EO: Tensor) -> Tensor:
        """sum_o strength_o norm(o(x)), for each edge."""
        each = zip(self.operators, self.norms, strength_EO.unbind(1), strict=True)
        if not self.training:  # skip operators with zero weight on all edges
            each = (one for one in list(each) if one[2].any())  # type: ignore[assignment]
        terms = [norm(operator(x_BFD), strength_E) for operator, norm, strength_E in each]
        return _sum(terms) if terms else x_BFD.new_zeros(len(x_BFD), len(strength_EO), *x_BFD.shape[1:])


class Strength(nn.Module):
    """The strength of each edge in place of a norm: x_BEFD -> (B, E, F, D); E of x may be 1."""

    def forward(self, x_BEFD: Tensor, strength_E: Tensor) -> Tensor:
        """The products."""
        return x_BEFD * strength_E.view(-1, 1, 1)


def _norm(shape: Shape, present: bool) -> nn.Module:
    return FieldNorm(1, shape.fields) if present else nn.Identity()


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, terms)
