"""Blocks of factorized interaction layers.

B batch, F fields, D embedding size, N size of an input, H outputs of a layer.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ctrloom.nn.mlp import Dropout, linear
from ctrloom.nn.norm import BatchNorm


class FactorizedInteraction(nn.Module):
    """[y, y * z] with [y, z] = W x + b: (B, N) -> (B, H), H even (Zhu et al. 2023)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = linear(inputs, outputs)

    def forward(self, x_BN: Tensor) -> Tensor:
        """A linear and a quadratic half."""
        first, second = self.linear(x_BN).chunk(2, 1)
        return torch.cat([first, first * second], 1)


def factorized_layers(
    inputs: int, hidden: Sequence[int], dropout: float, batch_norm: bool, layer_norm: bool
) -> nn.Sequential:
    """Factorized interactions, each with norm, ReLU and dropout: (B, inputs) -> (B, hidden[-1])."""
    layers: list[nn.Module] = []
    for size, width in pairwise((inputs, *hidden)):
        layers.append(FactorizedInteraction(size, width))
        layers += [BatchNorm(width)] if batch_norm else [nn.LayerNorm(width)] if layer_norm else []
        layers += [nn.ReLU(), *([Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers)


class FieldGate(nn.Module):
    """[v, v * g] with g_fd = sum_k W_fk v_kd + b_f, a gate per field and position: emb_BFD -> (B, 2 F D)."""

    def __init__(self, fields: int) -> None:
        super().__init__()
        self.linear = nn.Linear(fields, fields)
        nn.init.zeros_(self.linear.weight)
        nn.init.ones_(self.linear.bias)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """The embeddings and the gated embeddings, concatenated."""
        gate_BFD = self.linear(emb_BFD.mT).mT
        return torch.cat([emb_BFD, emb_BFD * gate_BFD], 1).flatten(1)
