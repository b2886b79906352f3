"""Feature gates and bilinear fusion of two-stream networks.

B batch, F fields, D embedding size, C fields of context, K heads, H outputs of a stream, N size of an input.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ctrloom.nn.mlp import linear


class FeatureGate(nn.Module):
    """2 sigmoid(MLP(context)) on the concatenated embeddings: emb_BFD -> x_BN (Mao et al. 2023).

    The context is the embeddings of some fields, or a learned vector if there are none.
    """

    def __init__(self, fields: int, size: int, context: Sequence[int], hidden: int) -> None:
        super().__init__()
        self.context = list(context)
        self.learned_D = None if self.context else nn.Parameter(torch.empty(size).normal_())
        inputs = max(len(self.context), 1) * size
        self.layers = nn.Sequential(linear(inputs, hidden), nn.ReLU(), linear(hidden, fields * size))

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """The gated embeddings, concatenated."""
        context = emb_BFD[:, self.context].flatten(1) if self.learned_D is None else self.learned_D
        return 2 * torch.sigmoid(self.layers(context)) * emb_BFD.flatten(1)


class BilinearFusion(nn.Module):
    """b + w^T x + w'^T x' + sum_k x_k^T W_k x'_k over K heads, which split x and x': -> (B,)."""

    def __init__(self, inputs: int, second_inputs: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = linear(inputs, 1), linear(second_inputs, 1, bias=False)
        self.weight_KHH = nn.Parameter(torch.empty(heads, inputs // heads, second_inputs // heads))
        for weight_HH in self.weight_KHH:
            nn.init.xavier_uniform_(weight_HH.detach())

    def forward(self, first_BH: Tensor, second_BH: Tensor) -> Tensor:
        """One logit per row."""
        first_BKH, second_BKH = (x_BH.unflatten(1, (self.heads, -1)) for x_BH in (first_BH, second_BH))
        projected_KBH = torch.bmm(first_BKH.transpose(0, 1), self.weight_KHH)
        bilinear_B = (projected_KBH.transpose(0, 1) * second_BKH).sum((1, 2))
        return (self.first(first_BH) + self.second(second_BH)).squeeze(-1) + bilinear_B
