"""Multi-head self-attention over the fields of a row.

B batch, C columns of the id matrix, F fields, L layers, I input size, O output size, A heads, S head size,
O = A S.
"""

import math
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ctrloom.nn.mlp import Dropout, linear


@runtime_checkable
class ShowsAttention(Protocol):
    """A model that can tell which fields its fields attend to."""

    def attention_maps(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Per layer, row and field the weights of all fields: (L, B, F, F)."""
        ...


class SelfAttention(nn.Module):
    """AutoInt's interacting layer: x_BFI -> (B, F, O).

    With `reading="code"`, the layer of the published code, queries, keys, values and residual are
    ReLU(W x + b), scores are divided by sqrt(S), and the output is LayerNorm(ReLU(heads + residual)). With
    `reading="paper"` (Song et al., AutoInt, CIKM 2019, Eq. 5-8) they are W x, scores are as they come, and
    the output is ReLU(heads + residual).

    Args:
        inputs: I.
        outputs: O, which the heads share equally.
        heads: A.
        residual: adds the projected input to what the heads attend to.
        dropout: share of the attention weights that training drops.
        reading: which of the two layers.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        heads: int,
        residual: bool = True,
        dropout: float = 0.0,
        reading: Literal["code", "paper"] = "code",
    ) -> None:
        super().__init__()
        if outputs % heads:
            raise ValueError(f"{heads} attention heads cannot share an output of size {outputs} equally")
        code = reading == "code"
        self.heads, self.dropout, self.relu = heads, Dropout(dropout), code
        self.scale = 1 / math.sqrt(outputs // heads) if code else 1.0
        # Four products are faster than a fused one on a CPU: its gradient would have to be put together.
        names = ("query", "key", "value", *(("residual",) if residual else ()))
        self.projections = nn.ModuleDict({name: _projection(inputs, outputs, bias=code) for name in names})
        self.norm = nn.LayerNorm(outputs, eps=1e-8) if code else nn.Identity()

    def forward(self, x_BFI: Tensor) -> Tensor:
        """Every field as a mixture of all fields, (B, F, O)."""
        query, key, value = (self._heads(name, x_BFI) for name in ("query", "key", "value"))
        # Keys first: a softmax over a short last axis is slow on a CPU, as is torch's fused attention.
        weight_BAFF = torch.softmax(key @ query.mT * self.scale, -2)
        mixed_BAFS = self.dropout(weight_BAFF).mT @ value
        out_BFO = mixed_BAFS.transpose(1, 2).flatten(2)
        if "residual" in self.projections:
            out_BFO = out_BFO + self._projected("residual", x_BFI)
        normed_BFO: Tensor = self.norm(torch.relu(out_BFO))
        return normed_BFO

    def weights(self, x_BFI: Tensor) -> Tensor:
        """How much of each field (last axis) goes into each field, per head: (B, A, F, F), rows sum to 1."""
        query, key = (self._heads(name, x_BFI) for name in ("query", "key"))
        return torch.softmax(query @ key.mT * self.scale, -1)

    def _projected(self, name: str, x_BFI: Tensor) -> Tensor:
        out_BFO: Tensor = self.projections[name](x_BFI)
        return out_BFO.relu_() if self.relu else out_BFO

    def _heads(self, name: str, x_BFI: Tensor) -> Tensor:
        return self._projected(name, x_BFI).unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _projection(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    projection = linear(inputs, outputs, bias)
    if bias:
        nn.init.zeros_(projection.bias)
    return projection
