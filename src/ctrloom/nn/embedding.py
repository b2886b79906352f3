"""One fused embedding table for all fields.

B batch, C columns of the id matrix, F fields, D embedding size, V rows of the table.
"""

import math

import torch
from torch import Tensor, nn

from ctrloom.schema import Schema


class FieldEmbedding(nn.Module):
    """Embeds every field with rows of one table: (ids_BC, factors_BC) -> emb_BFD.

    A field is the sum over its columns of factor * row: one row for a token, the scaled value times a row
    for a number, and the mean of its rows for several values (AutoInt, Eq. 2-4).

    Args:
        schema: gives the table's size and which columns belong to which field.
        size: D.
        std: standard deviation of a normal initialisation; None for AutoFIS' Xavier over the whole table,
            uniform within sqrt(6 / (V + D)).
    """

    field_of_column_C: Tensor

    def __init__(self, schema: Schema, size: int, std: float | None = None) -> None:
        super().__init__()
        self.fields = len(schema.fields)
        self.weight = nn.Parameter(torch.empty(schema.table_size, size))
        self.register_buffer("field_of_column_C", torch.tensor(schema.field_of_column), persistent=False)
        if std is None:
            bound = math.sqrt(6 / (schema.table_size + size))
            nn.init.uniform_(self.weight, -bound, bound)
        else:
            nn.init.normal_(self.weight, 0.0, std)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Embeddings emb_BFD."""
        emb_BCD = nn.functional.embedding(ids_BC, self.weight)
        if factors_BC is None:
            return emb_BCD
        emb_BCD = emb_BCD * factors_BC.unsqueeze(-1)
        if ids_BC.shape[1] == self.fields:
            return emb_BCD
        emb_BFD = emb_BCD.new_zeros(emb_BCD.shape[0], self.fields, emb_BCD.shape[2])
        return emb_BFD.index_add(1, self.field_of_column_C, emb_BCD)


class Linear(nn.Module):
    """Sum over the fields of one weight per id: (ids_BC, factors_BC) -> (B,)."""

    def __init__(self, schema: Schema, std: float | None = None) -> None:
        super().__init__()
        self.weights = FieldEmbedding(schema, 1, std)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """The linear part of the logit."""
        return self.weights(ids_BC, factors_BC).sum((1, 2))
