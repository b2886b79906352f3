"""Poly2: a linear model of single values and of joint values of two fields."""

from torch import Tensor

from ctrloom.architecture import Architecture
from ctrloom.config import MemorizingSettings
from ctrloom.models.shallow import LR
from ctrloom.nn.cross_features import CrossEmbedding
from ctrloom.schema import Schema


class Poly2(LR):
    """b + sum_i w_i + sum_ij w_ij, with one weight per joint value of a pair, without hashing.

    Pairs with a numeric or multivalued field have no cross features and are skipped.

    Reference: Chang et al., Training and testing low-degree polynomial data mappings, JMLR 2010.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: MemorizingSettings) -> None:
        super().__init__(architecture, schema, settings)
        categorical = {field.name for field in schema.fields if field.kind == "categorical"}
        pairs = [pair for pair in architecture.of_order(2) if categorical.issuperset(pair)]
        std = settings.embedding_std or 0.0
        self.crosses = CrossEmbedding(schema, pairs, 1, std, settings)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        return super().forward(ids_BC, factors_BC) + self.crosses(ids_BC).sum((1, 2))
