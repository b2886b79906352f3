"""AutoPI's cells: directed graphs whose nodes hold one embedding per field (AutoPI, section 4.2.1).

A cell maps the list of its input nodes, each (B, F, D), to the list of its intermediate nodes.

B batch, E edges, O operators, F fields, D embedding size.
"""

from collections.abc import Iterable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from ctrloom.architecture import OPERATORS, Edge, Operator
from ctrloom.nn.field_norm import FieldNorm
from ctrloom.nn.mlp import Dropout
from ctrloom.nn.operators import Shape, operator


class Cell(nn.Module):
    """A derived cell: each intermediate node is the sum of its incoming edges.

    Args:
        inputs: number of input nodes.
        nodes: number of intermediate nodes.
        edges: at least one into every intermediate node.
        shape: shape of every node.
        norm: normalises the output of each operator over the fields (Eq. 8).
        dropout: dropout probability at intermediate nodes.
    """

    def __init__(
        self,
        inputs: int,
        nodes: int,
        edges: Sequence[Edge],
        shape: Shape,
        norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.nodes = range(inputs, inputs + nodes)
        self.edges = sorted(edges, key=lambda edge: edge.target)
        self.operators = nn.ModuleList(operator(edge.operator, shape) for edge in self.edges)
        norms = (FieldNorm(1, shape.fields) if norm else nn.Identity() for _ in self.edges)
        self.norms = nn.ModuleList(norms)
        self.dropout = Dropout(dropout)

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """x_j = sum over the edges (i, j) of norm(operator(x_i))."""
        x, parts = list(inputs), list(self.parts())
        for node in self.nodes:
            terms = [n(op(x[e.source])) for e, op, n in parts if e.target == node]
            x.append(self.dropout(_sum(terms)).squeeze(1))
        return x[self.nodes.start :]

    def parts(self) -> Iterable[tuple[Edge, nn.Module, nn.Module]]:
        """Edges with their operators and norms."""
        return zip(self.edges, self.operators, self.norms, strict=True)


class SharedCell(Cell):
    """A cell with all of the given operators on every edge, of which only those in `present` are active.

    Graphs with the same operator on the same edge share its weights.
    """

    def __init__(
        self, inputs: int, nodes: int, shape: Shape, operators: Sequence[Operator] = OPERATORS
    ) -> None:
        edges = [
            Edge(source=source, target=target, operator=name)
            for target in range(inputs, inputs + nodes)
            for source in range(target)
            for name in operators
        ]
        super().__init__(inputs, nodes, edges, shape)
        self.present = frozenset(edges)

    def parts(self) -> Iterable[tuple[Edge, nn.Module, nn.Module]]:
        """The active edges with their operators and norms."""
        return [part for part in super().parts() if part[0] in self.present]


class MixedCell(nn.Module):
    """A cell under search: every node receives all previous nodes through a mixture of the operators.

    x_j = sum_i softmax_i(beta_ij / t) sum_o softmax_o(alpha_ijo / t) norm(o(x_i)) (Eq. 5, 6 and 8), with
    temperature t. Edges are ordered by source, then target, so that the edges of one source are computed
    together.
    """

    into_NE: Tensor

    def __init__(
        self, inputs: int, nodes: int, shape: Shape, operators: Sequence[Operator] = OPERATORS
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
        self.mixtures = nn.ModuleList(Mixture(shape, count, operators) for count in self.leaving)

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
                x.append(_sum(received[source]))
            targets = [node for node in self.nodes if node > source]
            for node, term_BFD in zip(targets, mixture(x[source], strength_EO).unbind(1), strict=True):
                received[node].append(term_BFD)
        return [*x[self.nodes.start :], _sum(received[self.nodes[-1]])]


class Mixture(nn.Module):
    """The operators on the outgoing edges of one node: (x_BFD, strength_EO) -> (B, E, F, D)."""

    def __init__(self, shape: Shape, edges: int, operators: Sequence[Operator]) -> None:
        super().__init__()
        self.operators = nn.ModuleList(operator(name, shape, edges) for name in operators)
        counts = [1 if name == "skip" else edges for name in operators]  # a skip is the same on all edges
        self.norms = nn.ModuleList(FieldNorm(count, shape.fields) for count in counts)

    def forward(self, x_BFD: Tensor, strength_EO: Tensor) -> Tensor:
        """sum_o strength_o norm(o(x)), for each edge."""
        each = zip(self.operators, self.norms, strength_EO.unbind(1), strict=True)
        if not self.training:  # skip operators with zero weight on all edges
            each = (one for one in list(each) if one[2].any())  # type: ignore[assignment]
        terms = [norm(operator(x_BFD), strength_E) for operator, norm, strength_E in each]
        return _sum(terms) if terms else x_BFD.new_zeros(len(x_BFD), len(strength_EO), *x_BFD.shape[1:])


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, terms)
