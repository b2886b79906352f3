"""DCNv3: two cross networks without an MLP.

B batch, A heads, F fields, D embedding size, S = D / A, N = F S.
"""

import torch
from torch import Tensor, nn

from ctrloom import distributed
from ctrloom.architecture import Architecture
from ctrloom.config import DCNv3Settings
from ctrloom.nn.cross_network import MaskedCross
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.own_loss import Mean, cross_entropy
from ctrloom.schema import Schema


class DCNv3(nn.Module):
    """(E + L) / 2, the means over heads of an exponential and a linear cross network's logits.

    Each head has its share of every embedding, of which the first halves of all fields precede the second.
    The loss is Tri-BCE: CE(mean) + w_E CE(E) + w_L CE(L) with w_E = max(0, CE(E) - CE(mean)).
    Reference: Li et al., DCNv3, 2024 (arXiv 2407.13349), and the authors' code.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: DCNv3Settings) -> None:
        super().__init__()
        self.embedding = FieldEmbedding(schema, settings.embedding_size, settings.embedding_std)
        self.heads = settings.heads
        inputs = len(schema.fields) * settings.embedding_size // settings.heads
        norm = settings.layer_norm
        self.exponential = MaskedCross(inputs, settings.exponential_layers, True, settings.dropout, norm)
        self.linear = MaskedCross(inputs, settings.linear_layers, False, settings.linear_dropout, norm)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        exponential_B, linear_B = self._logits(ids_BC, factors_BC)
        return 0.5 * (exponential_B + linear_B)

    def own_loss(
        self, ids_BC: Tensor, factors_BC: Tensor | None, label_B: Tensor, mean: Mean
    ) -> tuple[Tensor, Tensor]:
        """Tri-BCE, and the logits (B,)."""
        parts_B = self._logits(ids_BC, factors_BC)
        logit_B = 0.5 * (parts_B[0] + parts_B[1])
        shares = torch.stack([mean(cross_entropy(each_B, label_B)) for each_B in (logit_B, *parts_B)])
        whole, *parts = distributed.all_reduce(shares)  # weights depend on losses of the global batch
        total = whole + sum((part * (part - whole).relu() for part in parts), whole.new_zeros(()))
        return total / distributed.rank_and_world_size()[1], logit_B

    def _logits(self, ids_BC: Tensor, factors_BC: Tensor | None) -> tuple[Tensor, Tensor]:
        """Those of both networks (B,)."""
        halves_BFA2S = self.embedding(ids_BC, factors_BC).unflatten(2, (self.heads, 2, -1))
        x_BAN = halves_BFA2S.permute(0, 2, 3, 1, 4).flatten(2)
        return self.exponential(x_BAN).mean(1), self.linear(x_BAN).mean(1)
