"""Rows that an exported model is checked on: random ones of every id, and given ones.

N rows, C columns of the id matrix.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ctrloom.data.batches.batch import Batch, concatenated
from ctrloom.data.batches.tensors import to_batch
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import TypedBatch, read_rows
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.schema import MISSING_ID, PRESENT_ID, UNSEEN_ID, Schema

SIZES = (1, 2, 7, 1000)  # of batches; the last one is that of all further batches
RANDOM_ROWS = sum(SIZES)


def random_rows(schema: Schema, count: int = RANDOM_ROWS, seed: int = 0) -> Batch:
    """Random encoded rows: the first has only missing values, the second only unseen ones.

    Kept numbers are small, large or zero; lists have any length up to their field's width.
    """
    rng = np.random.default_rng(seed)
    ids_NC = np.zeros((count, len(schema.field_of_column)), np.int32)
    factors_NC, column = np.ones(ids_NC.shape, np.float32), 0
    for field, offset in zip(schema.fields, schema.offsets, strict=True):
        at = slice(column, column + field.width)
        id_NW = rng.integers(field.ids, size=(count, field.width))
        factor_NW = np.ones(id_NW.shape, np.float32)
        id_NW[:2] = [[MISSING_ID], [UNSEEN_ID]]
        if field.kind == "numeric":
            factor_NW[:, 0] = rng.normal(size=count) * rng.choice([0.0, 0.1, 1.0, 3.0], count)
            id_NW = np.where(rng.random(id_NW.shape) < 0.2, MISSING_ID, PRESENT_ID)
            id_NW[:2] = [[MISSING_ID], [PRESENT_ID]]
            factor_NW[id_NW == MISSING_ID] = field.missing_factor
        elif field.kind == "multivalued":
            length_N1 = rng.integers(field.width + 1, size=(count, 1))
            length_N1[:2, 0] = 0, 1
            used_NW = np.arange(field.width) < length_N1
            own_N = field.value_factors(length_N1[:, 0]).astype(np.float32)
            factor_NW = np.where(used_NW, own_N[:, np.newaxis], np.float32(0))
            factor_NW[length_N1[:, 0] == 0, 0] = 1
            id_NW = np.where(used_NW, id_NW, MISSING_ID)
        ids_NC[:, at], factors_NC[:, at] = id_NW + offset, factor_NW
        column += field.width
    factors = torch.from_numpy(factors_NC) if schema.has_factors else None
    return Batch(torch.from_numpy(ids_NC), torch.full((count,), torch.nan), factors)


def given_rows(encoder: Encoder, files: Sequence[str], labelled: bool) -> Batch:
    """The rows of raw files, without malformed ones; labels are NaN unless `labelled`.

    Raises:
        DataError: a file is missing or lacks a column, or no row is well-formed.
    """
    parts = []
    for batch in read_rows(encoder.schema.source, files, with_label=labelled):
        rows = to_batch(encoder.schema, encoder.encode(batch.dictionary_rows))
        if labelled:
            label_N = _floats(batch, "label")
            assert label_N is not None, "every source has a label"
            rows = Batch(rows.ids_NC, label_N, rows.factors_NC, _floats(batch, "weight"))
        if len(rows):
            parts.append(rows.widened())
    if not parts:
        raise DataError(f"--rows {files[0]}: has no row to check the exported model on")
    return concatenated(parts)


def _floats(batch: TypedBatch, name: str) -> torch.Tensor | None:
    """A column other than a field; None if the rows have none."""
    if name not in batch.table.schema.names:
        return None
    return torch.from_numpy(batch.table.column(name).to_numpy().astype(np.float32))


def batches(rows: Batch) -> Iterator[Batch]:
    """The rows in batches of `SIZES`, and then of the largest of them."""
    start = 0
    for size in (*SIZES, *[SIZES[-1]] * (len(rows) // SIZES[-1] + 1)):
        if start < len(rows):
            yield rows[start : start + size]
        start += size
