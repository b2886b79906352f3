"""The multi-layer perceptron of the deep models."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """Hidden layers with ReLU, then one logit: (B, inputs) -> (B,).

    With batch norm a hidden layer is linear without bias, norm without scale, bias, ReLU, dropout
    (AutoFIS' code); batch norm's own shift serves as the bias and its scale stays as it is.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], dropout: float = 0.0, batch_norm: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            linear = nn.Linear(inputs, width, bias=not batch_norm)
            nn.init.xavier_uniform_(linear.weight)
            layers += [linear, *([BiasedNorm(width)] if batch_norm else []), nn.ReLU()]
            layers += [Dropout(dropout)] if dropout else []
            inputs = width
        out = nn.Linear(inputs, 1)
        nn.init.xavier_uniform_(out.weight)
        self.layers = nn.Sequential(*layers, out)

    def forward(self, x_BH: Tensor) -> Tensor:
        """One logit per row."""
        logit_B1: Tensor = self.layers(x_BH)
        return logit_B1.squeeze(-1)


class Dropout(nn.Module):
    """Dropout that spends one random byte a value: half the time of torch's on the CPU.

    The share of zeros is `p` rounded to a 256th, and the scale is made for that share.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.dropped = min(round(p * 256), 255)

    def forward(self, x_BH: Tensor) -> Tensor:
        """Zero a random share of the values and scale up the others, in training only."""
        if not self.training or not self.dropped:
            return x_BH
        words = torch.empty((x_BH.numel() + 7) // 8, dtype=torch.int64, device=x_BH.device)
        bytes_BH = words.random_(-(2**63), None).view(torch.uint8)[: x_BH.numel()].view(x_BH.shape)
        kept_BH = bytes_BH >= self.dropped
        return x_BH * kept_BH * (256 / (256 - self.dropped))


class BiasedNorm(nn.Module):
    """Batch norm without scale, then a trainable bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, eps=1e-3, momentum=0.01, affine=False)
        self.bias = nn.Parameter(nn.init.zeros_(self.norm.running_mean.new_empty(width)))  # type: ignore[union-attr]

    def forward(self, x_BH: Tensor) -> Tensor:
        """Normalise, then shift."""
        normed_BH: Tensor = self.norm(x_BH)
        return normed_BH + self.bias
