"""FinalNet: factorized interaction layers in place of an MLP."""

from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import FinalNetSettings
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.factorized import FieldGate, factorized_layers
from ctrloom.nn.mlp import linear
from ctrloom.nn.own_loss import Mean, cross_entropy
from ctrloom.schema import Schema


class FinalNet(nn.Module):
    """w^T block(x) + b of one block; of two blocks, the mean of both logits, x = [v_1 ... v_F].

    Layers of a block are ReLU(BN([y, y * z])), [y, z] = W x + b. Two blocks also learn from their mean: the
    loss is CE(mean, label) + CE(first, p) + CE(second, p), where p is the mean's probability, a constant.
    Reference: Zhu et al., FINAL: Factorized interaction layer for CTR prediction, SIGIR 2023, and FuxiCTR.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: FinalNetSettings) -> None:
        super().__init__()
        fields, size = len(schema.fields), settings.embedding_size
        self.embedding = FieldEmbedding(schema, size, settings.embedding_std)
        norms = settings.batch_norm, settings.layer_norm

        def block(gated: bool, hidden: tuple[int, ...], dropout: float) -> nn.Sequential:
            gate, inputs = (FieldGate(fields), 2 * fields * size) if gated else (nn.Flatten(), fields * size)
            return nn.Sequential(
                gate, factorized_layers(inputs, hidden, dropout, *norms), linear(hidden[-1], 1), nn.Flatten(0)
            )

        second = settings.dropout if settings.second_dropout is None else settings.second_dropout
        self.first = block(settings.field_gates, settings.hidden, settings.dropout)
        self.second = block(False, settings.second_hidden, second) if settings.second_hidden else None

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        logit_B, *_ = self._logits(ids_BC, factors_BC)
        return logit_B

    def own_loss(
        self, ids_BC: Tensor, factors_BC: Tensor | None, label_B: Tensor, mean: Mean
    ) -> tuple[Tensor, Tensor]:
        """The loss of all logits, and the logits (B,)."""
        logit_B, *parts_B = self._logits(ids_BC, factors_BC)
        taught_B = logit_B.detach().sigmoid()
        losses = [cross_entropy(logit_B, label_B), *(cross_entropy(part_B, taught_B) for part_B in parts_B)]
        return sum((mean(loss_B) for loss_B in losses), logit_B.new_zeros(())), logit_B

    def _logits(self, ids_BC: Tensor, factors_BC: Tensor | None) -> list[Tensor]:
        """The logits, and with two blocks those of each."""
        emb_BFD = self.embedding(ids_BC, factors_BC)
        first_B: Tensor = self.first(emb_BFD)
        if self.second is None:
            return [first_B]
        second_B: Tensor = self.second(emb_BFD)
        return [0.5 * (first_B + second_B), first_B, second_B]
