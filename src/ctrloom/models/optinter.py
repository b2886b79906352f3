"""OptInter: each pair of fields is memorized, factorized or dropped."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import OptInterSettings
from ctrloom.nn.cross_features import CrossEmbedding, fill_crosses
from ctrloom.nn.embedding import FieldEmbedding, drop_embeddings
from ctrloom.nn.mlp import perceptron
from ctrloom.nn.precision import mlp_input
from ctrloom.nn.slots import HadamardProducts, slot_std
from ctrloom.schema import CrossKeys, Schema


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


class Supernet(nn.Module):
    """MLP([v_1 ... v_F, p^m_ij c_ij + p^f_ij a_i * a_j + p^n_ij 0 ...]), p the softmax of the pair's logits.

    OptInter, Eq. 17, which has no noise, like the published code; `gumbel` adds that of Eq. 16. `temperature`
    is set by the search.

    P pairs, D embedding size, H width of the first layer, X its inputs.
    """

    temperature: Tensor

    def __init__(
        self,
        schema: Schema,
        pairs: Sequence[tuple[str, ...]],
        settings: OptInterSettings,
        gumbel: bool = False,
    ) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        fields, size, cross_size = len(schema.fields), settings.embedding_size, settings.cross_embedding_size
        cross_std = settings.embedding_std or slot_std(len(pairs), cross_size)
        self.embedding = FieldEmbedding(schema, size, settings.embedding_std or slot_std(fields, size))
        self.memorized = CrossEmbedding(schema, pairs, cross_size, cross_std, settings)
        self.factorized = HadamardProducts(schema, pairs, cross_size, cross_std**0.5)
        inputs = fields * size + len(pairs) * cross_size
        self.mlp = perceptron(inputs, settings)
        self.logit_P3 = nn.Parameter(nn.init.xavier_normal_(torch.empty(len(pairs), 3)))
        self.register_buffer("temperature", torch.ones(()), persistent=False)
        self.gumbel = gumbel
        drop_embeddings(self, settings.embedding_dropout)

    def probabilities(self) -> Tensor:
        """Probability of each choice for each pair (P, 3)."""
        logit_P3: Tensor = self.logit_P3
        if self.gumbel and self.training:
            logit_P3 = logit_P3 - torch.empty_like(logit_P3).exponential_().log()
        return (logit_P3 / self.temperature).softmax(1)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        weight_P2 = self.probabilities()[:, :2]
        slot_BPD = self.factorized.mixed(self.memorized(ids_BC), weight_P2, ids_BC, factors_BC)
        logit_B: Tensor = self.mlp(mlp_input([self.embedding(ids_BC, factors_BC), slot_BPD]))
        return logit_B

    @torch.no_grad()
    def chosen(
        self, architecture: Architecture, schema: Schema, settings: OptInterSettings, keys: CrossKeys
    ) -> OptInter:
        """The model of an architecture with these weights; nothing is left of what it did not choose.

        All are on the CPU. `keys` are those of the cross features.
        """
        model = OptInter(architecture, schema, settings)
        fill_crosses(model, keys)
        model.embedding.load_state_dict(self.embedding.state_dict())
        model.memorized.copy_from(self.memorized)
        if model.factorized.table is not None:
            assert self.factorized.table is not None, "no pairs"
            model.factorized.table.load_state_dict(self.factorized.table.state_dict())
        weights = self.mlp.state_dict()
        first_HX, slots = weights["layers.0.weight"], len(self.pairs) * self.factorized.size
        own_HX, slot_HX = first_HX.split([first_HX.shape[1] - slots, slots], 1)
        of_chosen = [
            self.pairs.index(pair) for f in ("memorize", "hadamard") for pair in architecture.of_order(2, f)
        ]
        chosen_HPD = slot_HX.unflatten(1, (len(self.pairs), -1))[:, of_chosen]
        weights["layers.0.weight"] = torch.cat([own_HX, chosen_HPD.flatten(1)], 1)
        model.mlp.load_state_dict(weights)
        return model
