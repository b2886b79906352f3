"""Cross networks: each layer multiplies the input with a linear map of the previous layer.

B batch, N size of the concatenated embeddings, R rank, F fields, D embedding size, H feature maps.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ctrloom.nn.mlp import Dropout, linear


class VectorCross(nn.Module):
    """x' = x_0 (x^T w) + b + x in each layer: x_BN -> (B, N) (Wang et al. 2017, Eq. 3)."""

    def __init__(self, inputs: int, layers: int) -> None:
        super().__init__()
        self.weights = nn.ModuleList(linear(inputs, 1, bias=False) for _ in range(layers))
        self.biases = nn.ParameterList(torch.zeros(inputs) for _ in range(layers))

    def forward(self, x_BN: Tensor) -> Tensor:
        """The last layer's output."""
        first_BN = x_BN
        for weight, bias_N in zip(self.weights, self.biases, strict=True):
            x_BN = first_BN * weight(x_BN) + bias_N + x_BN
        return x_BN


class MatrixCross(nn.Module):
    """x' = x_0 * (W x + b) + x in each layer: x_BN -> (B, N) (Wang et al. 2021, Eq. 1).

    With `rank`, W is the low-rank product U V^T.
    """

    def __init__(self, inputs: int, layers: int, rank: int | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            linear(inputs, inputs)
            if rank is None
            else nn.Sequential(linear(inputs, rank, bias=False), linear(rank, inputs))
            for _ in range(layers)
        )

    def forward(self, x_BN: Tensor) -> Tensor:
        """The last layer's output."""
        first_BN = x_BN
        for layer in self.layers:
            x_BN = first_BN * layer(x_BN) + x_BN
        return x_BN


class GatedCross(nn.Module):
    """x' = x_0 * (W x + b) * sigmoid(V x) + x in each layer: x_BN -> (B, N) (Wang et al. 2023)."""

    def __init__(self, inputs: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(linear(inputs, inputs) for _ in range(layers))
        self.gates = nn.ModuleList(linear(inputs, inputs, bias=False) for _ in range(layers))

    def forward(self, x_BN: Tensor) -> Tensor:
        """The last layer's output."""
        first_BN = x_BN
        for layer, gate in zip(self.layers, self.gates, strict=True):
            x_BN = first_BN * layer(x_BN) * torch.sigmoid(gate(x_BN)) + x_BN
        return x_BN


class MaskedCross(nn.Module):
    """x' = y * ([c, c * ReLU(LN(c))] + b) + x in each layer, c = W x, then w^T x + b': (..., N) -> (...).

    c has half the width of x. y is x_0, so that the order grows by one per layer, or x, so that it doubles
    (Li et al. 2024).

    Args:
        inputs: N, even.
        layers: number of layers.
        exponential: y is x instead of x_0.
        dropout: dropout probability of each layer's output.
        layer_norm: LN is layer norm, otherwise the identity.
    """

    def __init__(self, inputs: int, layers: int, exponential: bool, dropout: float, layer_norm: bool) -> None:
        super().__init__()
        self.exponential, half = exponential, inputs // 2
        self.layers = nn.ModuleList(linear(inputs, half, bias=False) for _ in range(layers))
        self.biases = nn.ParameterList(torch.rand(inputs) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(half) if layer_norm else nn.Identity() for _ in range(layers))
        self.dropout = Dropout(dropout)
        self.out = linear(inputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One logit per input."""
        first = x
        for layer, bias_N, norm in zip(self.layers, self.biases, self.norms, strict=True):
            crossed = layer(x)
            masked = torch.cat([crossed, crossed * norm(crossed).relu()], -1)
            x = self.dropout((x if self.exponential else first) * (masked + bias_N) + x)
        logit: Tensor = self.out(x)
        return logit.squeeze(-1)


class CompressedInteractions(nn.Module):
    """x^k_h = sum_ij W^kh_ij x^(k-1)_i * x^0_j in each layer, sum-pooled over the embedding.

    emb_BFD -> (B, H of all layers) (Lian et al. 2018, Eq. 6 and 7; no activation, the best variant there).
    """

    def __init__(self, fields: int, maps: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            linear(h * fields, out, bias=False) for h, out in pairwise([fields, *maps])
        )

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """The pooled feature maps of all layers."""
        first_BD1F = emb_BFD.mT.unsqueeze(2)
        maps_BDH, pooled = emb_BFD.mT, []
        *layers, last = self.layers
        for layer in layers:
            maps_BDH = layer((maps_BDH.unsqueeze(3) * first_BD1F).flatten(2))
            pooled.append(maps_BDH.sum(1))
        # The last layer is only needed pooled, so pool its products before the linear map.
        return torch.cat([*pooled, last((maps_BDH.mT @ emb_BFD.mT).flatten(1))], 1)
