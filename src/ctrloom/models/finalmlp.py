"""FinalMLP: a two-stream MLP."""

from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import FinalMLPSettings
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.fusion import BilinearFusion, FeatureGate
from ctrloom.nn.mlp import hidden_layers, regularization
from ctrloom.schema import Schema


class FinalMLP(nn.Module):
    """Bilinear fusion of two streams: b + w^T x + w'^T x' + x^T W x' with x = layers(gate([v_1 ... v_F])).

    The gates use the model's embeddings; in the authors' code they have separate tables.
    Reference: Mao et al., FinalMLP, AAAI 2023.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: FinalMLPSettings) -> None:
        super().__init__()
        fields, size = len(schema.fields), settings.embedding_size
        self.embedding = FieldEmbedding(schema, size, settings.embedding_std)

        def stream(hidden: tuple[int, ...], dropout: float, context: tuple[str, ...]) -> nn.Sequential:
            _, *norms = regularization(settings)
            layers = hidden_layers(fields * size, hidden, dropout, *norms)
            if settings.gate_hidden is None:
                return nn.Sequential(nn.Flatten(), layers)
            gate = FeatureGate(fields, size, schema.indices(context), settings.gate_hidden)
            return nn.Sequential(gate, layers)

        second = settings.dropout if settings.second_dropout is None else settings.second_dropout
        self.first = stream(settings.hidden, settings.dropout, settings.first_context)
        self.second = stream(settings.second_hidden, second, settings.second_context)
        self.fusion = BilinearFusion(settings.hidden[-1], settings.second_hidden[-1], settings.heads)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        emb_BFD = self.embedding(ids_BC, factors_BC)
        logit_B: Tensor = self.fusion(self.first(emb_BFD), self.second(emb_BFD))
        return logit_B
