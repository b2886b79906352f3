"""Encoded columns as tensors: ids with the field offsets of the fused table added, and factors.

N rows, C columns of the id matrix (a multi-valued field takes several).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from ctrloom.data.batches.batch import Batch
from ctrloom.data.errors import too_many_values
from ctrloom.schema import MISSING_ID, PRESENT_ID, Field, Schema


def to_batch(schema: Schema, encoded: pa.RecordBatch) -> Batch:
    """Encoded fields without labels (see `Encoder.encode`) as a batch; every label is NaN."""
    filler = BatchFiller(schema, len(encoded))
    filler.add(encoded)
    return filler.batch()


def id_type(schema: Schema) -> torch.dtype:
    """The smallest integer type that has every id.

    Raises:
        DataError: int32 is too small.
    """
    for smallest in (torch.int16, torch.int32):
        if schema.ids <= torch.iinfo(smallest).max + 1:
            return smallest
    raise too_many_values(schema.ids)


def row_bytes(schema: Schema, extra: Sequence[str] = ()) -> int:
    """Memory of one row."""
    each = id_type(schema).itemsize + (4 if schema.has_factors else 0)
    return each * len(schema.field_of_column) + 4 * len(extra)


class BatchFiller:
    """A preallocated id matrix that is filled batch by batch, a column at a time."""

    def __init__(self, schema: Schema, rows: int, extra: Sequence[str] = (), pinned: bool = False) -> None:
        """`extra` lists the columns of the batches other than fields: label, weight.

        `pinned` memory can be copied to a GPU asynchronously.

        Raises:
            DataError: the fused table has too many rows.
        """
        self.schema, self.filled = schema, 0
        shape = rows, len(schema.field_of_column)

        def room(shape: tuple[int, ...], kind: torch.dtype) -> torch.Tensor:
            return torch.empty(shape, dtype=kind, pin_memory=pinned)

        extra_N = {name: room((rows,), torch.float32) for name in extra}
        self.into = Batch(
            ids_NC=room(shape, id_type(schema)),
            label_N=extra_N.get("label", torch.empty(0)),
            factors_NC=room(shape, torch.float32).fill_(1) if schema.has_factors else None,
            weight_N=extra_N.get("weight"),
        )
        self.ids_NC = self.into.ids_NC.numpy()
        self.factors_NC = None if self.into.factors_NC is None else self.into.factors_NC.numpy()
        self.extra = {name: values_N.numpy() for name, values_N in extra_N.items()}

    def add(self, encoded: pa.RecordBatch) -> None:
        """Append rows."""
        here = slice(self.filled, self.filled + len(encoded))
        column = 0
        for field, offset in zip(self.schema.fields, self.schema.offsets, strict=True):
            values, to = encoded.column(field.name), slice(column, column + field.width)
            factors = self.factors_NC[here, to] if self.factors_NC is not None else None
            _fill(field, values, self.ids_NC[here, to], factors)
            self.ids_NC[here, to] += offset
            column += field.width
        for name, array in self.extra.items():
            array[here] = encoded.column(name).to_numpy()
        self.filled += len(encoded)

    def batch(self) -> Batch:
        """The rows; all of them must have been added."""
        assert self.filled == len(self.ids_NC), "fewer rows than the manifest says"
        if "label" in self.extra:
            return self.into
        return replace(self.into, label_N=torch.full((self.filled,), torch.nan))


def _fill(field: Field, values: pa.Array, ids: np.ndarray, factors: np.ndarray | None) -> None:
    if field.kind == "categorical":
        ids[:, 0] = values.to_numpy()
        return
    assert factors is not None
    if field.kind == "numeric":
        ids[:, 0] = np.where(values.is_valid().to_numpy(zero_copy_only=False), PRESENT_ID, MISSING_ID)
        factors[:, 0] = values.fill_null(field.missing_factor).to_numpy()
        return
    sizes = pc.list_value_length(values).to_numpy()
    row = np.repeat(np.arange(len(values)), sizes)
    place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    ids[:] = MISSING_ID
    ids[row, place] = pc.list_flatten(values).to_numpy()
    factors[:] = 0
    factors[row, place] = field.value_factors(sizes)[row]
    factors[sizes == 0, 0] = 1
