"""One fused embedding table for all fields.

B batch, C columns of the id matrix, F fields, D embedding size, V rows of the table, K kept positions of all
columns.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ctrloom import memory
from ctrloom.nn.mlp import Dropout
from ctrloom.nn.sparse_rows import lookup_dense_gradient, lookup_sparse_gradient
from ctrloom.schema import UNSEEN_ID, Schema


class TableRows(nn.Module):
    """Rows of the embedding table: ids_BC -> row_BC; rare values have none, but that of unseen ones."""

    rare_C: Tensor  # first id of a rare value
    ahead_C: Tensor  # other ids minus their rows
    unseen_C: Tensor

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        of_field = zip(schema.fields, schema.offsets, schema.table_offsets, strict=True)
        numbers = [(start + f.size, start - row, row + UNSEEN_ID) for f, start, row in of_field]
        of_column = [numbers[field] for field in schema.field_of_column]
        for name, values in zip(("rare_C", "ahead_C", "unseen_C"), zip(*of_column, strict=True), strict=True):
            self.register_buffer(name, torch.tensor(values, dtype=torch.int32), persistent=False)

    def forward(self, ids_BC: Tensor) -> Tensor:
        """The row of each id."""
        return torch.where(ids_BC < self.rare_C, ids_BC - self.ahead_C, self.unseen_C)


class FieldEmbedding(nn.Module):
    """Embeds all fields with one table: (ids_BC, factors_BC) -> emb_BFD.

    A field's embedding is the sum over its columns of factor * row: a row for a categorical value, the
    scaled value times a row for a number, and the mean or sum of rows for a multivalued field (AutoInt,
    Eq. 2-4).

    Args:
        schema: size of the table and the field of each column.
        size: D.
        std: standard deviation of a normal initialisation; None for AutoFIS' Xavier over the whole table,
            uniform within sqrt(6 / (V + D)).
    """

    field_of_column_C: Tensor

    def __init__(self, schema: Schema, size: int, std: float | None = None) -> None:
        super().__init__()
        self.fields = len(schema.fields)
        self.sparse_gradients = False  # whether gradients are sparse; set with the optimizer
        self.keep_duplicates = False  # whether sparse gradients repeat a row for each lookup
        self.compressed: nn.Module | None = None  # in place of `weight`, see `nn.compressed_tables`
        self.dropout: Dropout | None = None  # see `drop_embeddings`
        self.row_widths = [size] * self.fields  # weights of one id, by field
        memory.require(
            4 * schema.table_size * size,
            f"the embedding table of {schema.table_size:,} ids of {size:,} numbers",
            "lower embedding_size, or raise vocabulary.min_count, so that there are fewer ids",
        )
        self.weight = nn.Parameter(torch.empty(schema.table_size, size))
        self.register_buffer("field_of_column_C", torch.tensor(schema.field_of_column), persistent=False)
        rare = any(field.rare for field in schema.fields)
        self.row_of_id = TableRows(schema) if rare else None  # None: they are the same
        if std is None:
            bound = math.sqrt(6 / (schema.table_size + size))
            nn.init.uniform_(self.weight, -bound, bound)
        else:
            nn.init.normal_(self.weight, 0.0, std)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Embeddings emb_BFD."""
        emb_BFD = self._embedded(ids_BC, factors_BC)
        if self.dropout is None:
            return emb_BFD
        dropped_BFD: Tensor = self.dropout(emb_BFD)
        return dropped_BFD

    def _embedded(self, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        emb_BCD = self.rows(ids_BC if self.row_of_id is None else self.row_of_id(ids_BC))
        if factors_BC is None:
            return emb_BCD
        emb_BCD = emb_BCD * factors_BC.unsqueeze(-1)
        if ids_BC.shape[1] == self.fields:
            return emb_BCD
        emb_BFD = emb_BCD.new_zeros(emb_BCD.shape[0], self.fields, emb_BCD.shape[2])
        return emb_BFD.index_add(1, self.field_of_column_C, emb_BCD)

    def rows(self, ids_BC: Tensor) -> Tensor:
        """The rows of the table with these indices, emb_BCD."""
        if self.compressed is not None:
            emb_BCD: Tensor = self.compressed(ids_BC, ids_BC)
            return emb_BCD
        if self.sparse_gradients:
            return lookup_sparse_gradient(self.weight, ids_BC, self.keep_duplicates)
        return lookup_dense_gradient(self.weight, ids_BC)


class KeptEmbedding(FieldEmbedding):
    """Embeds each field in a subset of the D positions; the others are zero and have no weights.

    One flat vector holds the rows of all fields, whose width is the field's number of kept positions (AIM,
    section 3.4).

    Args:
        schema, size, std: as in `FieldEmbedding`; weights are initialised as in the full table.
        positions: kept positions of each field, ascending.
    """

    column_K: Tensor
    width_K: Tensor
    shift_K: Tensor
    place_K: Tensor

    def __init__(
        self, schema: Schema, size: int, positions: Sequence[Sequence[int]], std: float | None = None
    ) -> None:
        super().__init__(schema, size, std)
        kept_FD = torch.zeros(self.fields, size, dtype=torch.bool)
        for field, places in enumerate(positions):
            kept_FD[field, list(places)] = True
        sizes_F = torch.tensor([field.size for field in schema.fields])
        self.weight = nn.Parameter(self.weight.detach()[kept_FD.repeat_interleave(sizes_F, 0)])
        # Id v has at the r-th kept position of its field the value weight[v * width + shift], with
        # shift = (weights of previous fields) - (ids of previous fields) * width + r.
        width_F = kept_FD.sum(1)
        self.row_widths, self.sizes = width_F.tolist(), sizes_F.tolist()
        before_F = (sizes_F * width_F).cumsum(0) - sizes_F * width_F
        start_F = before_F - torch.tensor(schema.table_offsets) * width_F
        kept_CD = kept_FD[self.field_of_column_C]
        column_K, position_K = kept_CD.nonzero(as_tuple=True)
        rank_K = (kept_CD.cumsum(1) - 1)[column_K, position_K]
        field_K = self.field_of_column_C[column_K]
        self.size = size
        for name, value in (
            ("column_K", column_K),
            ("width_K", width_F[field_K]),
            ("shift_K", start_F[field_K] + rank_K),
            ("place_K", column_K * size + position_K),
        ):
            self.register_buffer(name, value, persistent=False)

    def row_of_weights(self) -> Tensor:
        """The id that each weight belongs to."""
        width_V = torch.tensor(self.row_widths).repeat_interleave(torch.tensor(self.sizes))
        return torch.arange(len(width_V)).repeat_interleave(width_V)

    def rows(self, ids_BC: Tensor) -> Tensor:
        """Row of each id, zero at dropped positions, emb_BCD."""
        batch, columns = ids_BC.shape
        id_BK = ids_BC.long().index_select(1, self.column_K)
        index_BK = id_BK * self.width_K + self.shift_K
        if self.compressed is not None:
            kept_BK = self.compressed(index_BK, id_BK)
        else:
            kept_BK = self.weight.index_select(0, index_BK.flatten()).view(batch, -1)
        flat_BX = kept_BK.new_zeros(batch, columns * self.size).index_copy(1, self.place_K, kept_BK)
        return flat_BX.view(batch, columns, self.size)


class NoEmbedding(nn.Module):
    """In place of embeddings that nothing uses: (ids_BC, factors_BC) -> emb_BFD with D = 0."""

    def __init__(self, fields: int) -> None:
        super().__init__()
        self.fields = fields

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Embeddings of size 0."""
        return torch.empty(ids_BC.shape[0], self.fields, 0, device=ids_BC.device)


class LinearTerm(nn.Module):
    """Sum over the fields of one weight per id: (ids_BC, factors_BC) -> (B,)."""

    def __init__(self, schema: Schema, std: float | None = None) -> None:
        super().__init__()
        self.weights = FieldEmbedding(schema, 1, std)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """The linear part of the logit."""
        return self.weights(ids_BC, factors_BC).sum((1, 2))


def drop_embeddings(model: nn.Module, share: float) -> None:
    """Add dropout to all embeddings of a model; the weights of linear parts are none.

    It acts on every number independently, in training only, as in AutoInt's code.
    """
    linear = {module.weights for module in model.modules() if isinstance(module, LinearTerm)}
    for module in model.modules():
        if share and isinstance(module, FieldEmbedding) and module not in linear:
            module.dropout = Dropout(share)
