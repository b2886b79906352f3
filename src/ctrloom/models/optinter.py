"""OptInter: each pair of fields is memorized, factorized or dropped."""

from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import OptInterSettings
from ctrloom.nn.cross_features import CrossEmbedding
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.mlp import perceptron
from ctrloom.nn.precision import mlp_input
from ctrloom.nn.slots import HadamardProducts, slot_std
from ctrloom.schema import Schema


class OptInter(nn.Module):
    """MLP([v_1 ... v_F, c_ij of memorized pairs ..., a_i * a_j of factorized pairs ...]).

    c is the cross-feature table, a a second embedding table of the fields. A dropped pair has no slot; the
    published code keeps a slot of zeros, which is equivalent.

    Reference: Lyu et al., OptInter, ICDE 2022, Eq. 4-9.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: OptInterSettings) -> None:
        super().__init__()
        memorized, factorized = (architecture.of_order(2, f) for f in ("memorize", "hadamard"))
        fields, pairs = len(schema.fields), len(memorized) + len(factorized)
        size, cross_size = settings.embedding_size, settings.cross_embedding_size
        cross_std = settings.embedding_std or slot_std(pairs, cross_size)
        self.embedding = FieldEmbedding(schema, size, settings.embedding_std or slot_std(fields, size))
        self.memorized = CrossEmbedding(schema, memorized, cross_size, cross_std, settings)
        self.factorized = HadamardProducts(schema, factorized, cross_size, cross_std**0.5)
        inputs = fields * size + pairs * cross_size
        self.mlp = perceptron(inputs, settings)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        slots = (
            self.embedding(ids_BC, factors_BC),
            self.memorized(ids_BC),
            self.factorized(ids_BC, factors_BC),
        )
        logit_B: Tensor = self.mlp(mlp_input(slots))
        return logit_B
