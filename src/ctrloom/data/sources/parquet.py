"""Parquet files as batches of raw columns."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ctrloom.config import SourceConfig
from ctrloom.data.arrow.dictionary import is_dictionary
from ctrloom.data.errors import DataError
from ctrloom.data.parquet.reader import read_groups
from ctrloom.data.parquet.verified import opened_if_sealed
from ctrloom.data.sources.files import open_seekable
from ctrloom.data.sources.header import check_names, wanted_columns
from ctrloom.data.sources.kept import require_kept
from ctrloom.data.sources.raw import RawBatch, python_value

BATCH_ROWS = 32_768


def read_parquet(
    path: str, source: SourceConfig, with_label: bool, keep: Sequence[str] = ()
) -> Iterator[Callable[[], RawBatch]]:
    """Batches of one Parquet file; "lines" are its rows."""
    wanted = wanted_columns(source, with_label)
    with open_seekable(path) as stream:
        size = stream.seek(0, os.SEEK_END) or stream.tell()
        content = opened_if_sealed(path, stream)
        try:
            file = pq.ParquetFile(content, buffer_size=1 << 20)  # reads large row groups in pieces
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise DataError(f"{path}: is not Parquet: {error}") from None
        notes = check_names(path, source, file.schema_arrow.names, with_label, keep)
        require_kept(path, file.schema_arrow.names, keep)
        row, told = 1, 0
        if keep and not file.metadata.num_rows:  # the types of the columns to keep
            none = pa.RecordBatch.from_pylist([], file.schema_arrow)
            yield partial(_raw, path, none.select(wanted), row, 0, notes, none.select(keep))
        for batch in read_groups(file, BATCH_ROWS, list(dict.fromkeys([*wanted, *keep]))):
            read = size * (row - 1 + len(batch)) // max(file.metadata.num_rows, 1)
            yield partial(_raw, path, batch.select(wanted), row, read - told, notes, batch.select(keep))
            row, told = row + len(batch), read


def _raw(
    path: str, batch: pa.RecordBatch, row: int, stored_bytes: int, notes: list[str], kept: pa.RecordBatch
) -> RawBatch:
    return RawBatch(
        file=path,
        lines=np.arange(row, row + len(batch)),
        columns={name: _plain(path, batch.column(name)) for name in batch.schema.names},
        positions=np.arange(len(batch)),
        stored_bytes=stored_bytes,
        text_of=lambda position: json.dumps(
            {name: python_value(batch[name][position]) for name in batch.schema.names}, default=str
        ),
        notes=notes,
        kept=pa.RecordBatch.from_arrays([_plain(path, column) for column in kept.columns], kept.schema.names)
        if kept.schema.names
        else None,
    )


def _plain(path: str, column: pa.Array) -> pa.Array:
    """The column without a dictionary; in a corrupt file, indices may be out of bounds."""
    try:
        return column.dictionary.take(column.indices) if is_dictionary(column.type) else column
    except pa.ArrowIndexError as error:
        raise DataError(f"{path}: is corrupt: {error}; write it again") from None
