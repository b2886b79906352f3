"""Higher-order FM."""

from math import comb

from torch import Tensor, nn

from ctrloom.architecture import Architecture
from ctrloom.config import HOFMSettings
from ctrloom.models.shallow import LR
from ctrloom.nn.anova import anova
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.functions import FunctionInteractions
from ctrloom.nn.products import products
from ctrloom.schema import Schema


class HOFM(LR):
    """b + sum_i w_i + sum_ij <v_i, v_j> + sum_ijk <v'_i, v'_j, v'_k> + ..., with a table for each order.

    If the architecture consists of all pairs, all interactions up to `order` are modelled. Otherwise exactly
    those of the architecture are, with its functions, each with its own table, and `order` is ignored.
    Reference: Blondel et al., Higher-order factorization machines, NIPS 2016.
    """

    def __init__(self, architecture: Architecture, schema: Schema, settings: HOFMSettings) -> None:
        super().__init__(architecture, schema, settings)
        fields = len(schema.fields)
        if architecture.has_functions:
            own = FunctionInteractions(architecture, schema, settings.embedding_size, settings.embedding_std)
            self.products, self.tables = own.functions, own.tables
            return
        kept = {o: len(architecture.of_order(o)) for o in architecture.orders}
        if kept == {2: comb(fields, 2)}:
            kept = {o: comb(fields, o) for o in range(2, min(settings.order, fields) + 1)}
        some = {o: architecture.indices(schema, o) for o in kept if kept[o] < comb(fields, o)}
        self.products = nn.ModuleDict({str(o): products(tuples, fields) for o, tuples in some.items()})
        self.tables = nn.ModuleDict(
            {str(o): FieldEmbedding(schema, settings.embedding_size, settings.embedding_std) for o in kept}
        )

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Logits (B,)."""
        logit_B = super().forward(ids_BC, factors_BC)
        for group, table in self.tables.items():
            emb_BFD = table(ids_BC, factors_BC)
            selected = group in self.products
            logit_B = logit_B + (
                self.products[group](emb_BFD).sum(1) if selected else anova(emb_BFD, int(group))
            )
        return logit_B
