"""AutoPI's six operators, each between two nodes of a cell (AutoPI, section 4.2.2).

An operator is built for E outgoing edges of one node, each with its own weights, and maps x_BFD to
(B, E, F, D). Whatever the edges share, such as the products of FM, is computed once.

B batch, E edges, F fields, D embedding size, P pairs, R reduced fields.
"""

from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ctrloom.architecture import Operator
from ctrloom.nn.attention import SelfAttention
from ctrloom.nn.products import PairProducts


class Shape(NamedTuple):
    """Shape of a node, and the sizes that the paper does not specify."""

    fields: int
    size: int
    heads: int
    reduction: int


class Skip(nn.Module):
    """X. A search can add noise of 0.03 standard deviations, so that skips do not dominate (section 5.1)."""

    def __init__(self, shape: Shape, edges: int) -> None:
        super().__init__()
        self.noise = 0.0

    def forward(self, x_BFD: Tensor) -> Tensor:
        """The input, (B, 1, F, D), as it is the same for all edges."""
        if self.training and self.noise and len(x_BFD):
            x_BFD = x_BFD + self.noise * x_BFD.detach().std() * torch.randn_like(x_BFD)
        return x_BFD.unsqueeze(1)


class SENet(nn.Module):
    """ReLU(a_f x_f) with a = ReLU(W2 ReLU(W1 z)) and z_f the mean of x_f (FiBiNET, section 3.2)."""

    def __init__(self, shape: Shape, edges: int) -> None:
        super().__init__()
        reduced = max(1, shape.fields // shape.reduction)
        self.squeeze_EFR = _xavier(edges, shape.fields, reduced)
        self.excite_ERF = _xavier(edges, reduced, shape.fields)

    def forward(self, x_BFD: Tensor) -> Tensor:
        """Fields, reweighted by the context of all fields."""
        z_BF = x_BFD.mean(-1)
        squeezed_EBR = torch.relu(z_BF @ self.squeeze_EFR)
        weight_BEF = torch.relu(squeezed_EBR @ self.excite_ERF).transpose(0, 1).contiguous()
        return torch.relu(x_BFD.unsqueeze(1) * weight_BEF.unsqueeze(-1))


class Attention(nn.Module):
    """ReLU(multi-head self-attention + W x) over the fields (AutoInt, Eq. 5-8)."""

    def __init__(self, shape: Shape, edges: int) -> None:
        super().__init__()
        layers = (SelfAttention(shape.size, shape.size, shape.heads, reading="paper") for _ in range(edges))
        self.layers = nn.ModuleList(layers)

    def forward(self, x_BFD: Tensor) -> Tensor:
        """Attended fields, (B, E, F, D)."""
        return torch.stack([layer(x_BFD) for layer in self.layers], 1)


class FM(nn.Module):
    """ReLU(p W) with p the inner products of all pairs of fields."""

    def __init__(self, shape: Shape, edges: int) -> None:
        super().__init__()
        pairs = list(combinations(range(shape.fields), 2))
        self.shape = (edges, shape.fields, shape.size)
        self.products = PairProducts(pairs, shape.fields)
        self.weight = _dense(len(pairs), edges, shape)

    def forward(self, x_BFD: Tensor) -> Tensor:
        """Linear maps of all inner products, (B, E, F, D)."""
        return torch.relu(self.products(x_BFD) @ self.weight).unflatten(1, self.shape)


class SLP(nn.Module):
    """ReLU(x W) with x the concatenation of all fields."""

    def __init__(self, shape: Shape, edges: int) -> None:
        super().__init__()
        self.shape = (edges, shape.fields, shape.size)
        self.weight = _dense(shape.fields * shape.size, edges, shape)

    def forward(self, x_BFD: Tensor) -> Tensor:
        """Linear maps of all entries, (B, E, F, D)."""
        return torch.relu(x_BFD.flatten(1) @ self.weight).unflatten(1, self.shape)


class Conv(nn.Module):
    """ReLU(W x): F kernels of size F x 1 x 1, which mix the fields at each embedding position."""

    def __init__(self, shape: Shape, edges: int) -> None:
        super().__init__()
        self.shape = (edges, shape.fields)
        self.weight_EFF = _xavier(edges, shape.fields, shape.fields)

    def forward(self, x_BFD: Tensor) -> Tensor:
        """Linear maps of the fields, the same at all positions, (B, E, F, D)."""
        kernels = self.weight_EFF.flatten(0, 1).unsqueeze(-1)
        return torch.relu(nn.functional.conv1d(x_BFD, kernels)).unflatten(1, self.shape)


_OPERATORS: dict[Operator, type[nn.Module]] = {
    "skip": Skip,
    "senet": SENet,
    "attention": Attention,
    "fm": FM,
    "slp": SLP,
    "conv": Conv,
}


def operator(name: Operator, shape: Shape, edges: int = 1) -> nn.Module:
    """Build an operator for the `edges` outgoing edges of one node: x_BFD -> (B, E, F, D)."""
    return _OPERATORS[name](shape, edges)


def _xavier(edges: int, rows: int, columns: int) -> nn.Parameter:
    """One matrix per edge, each initialised separately."""
    weight = torch.empty(edges, rows, columns)
    for matrix in weight:
        nn.init.xavier_uniform_(matrix)
    return nn.Parameter(weight)


def _dense(inputs: int, edges: int, shape: Shape) -> nn.Parameter:
    """The concatenated matrices of all edges, for a single product: (inputs, E F D)."""
    return nn.Parameter(_xavier(edges, inputs, shape.fields * shape.size).transpose(0, 1).flatten(1).detach())
