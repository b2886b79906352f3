"""Labels that came after their requests."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from ctrloom import storage
from ctrloom.data.arrow.dictionary import plain
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.tokens import is_text
from ctrloom.data.parquet.verified import opened_if_sealed
from ctrloom.data.sources.files import open_seekable

ID, ROW = "request_id", "row"
_KEY = "ctrloom.key"


@dataclass(frozen=True)
class Labels:
    """Label columns, and the key of each row: request id and row number."""

    file: str
    key: pa.StringArray
    columns: pa.Table

    @classmethod
    def read(cls, file: str) -> Self:
        """Read CSV or Parquet with `request_id`, `row` (0 if there is no such column) and label columns.

        Values of CSV stay text, as in a file of raw rows.

        Raises:
            DataError: it cannot be read, lacks `request_id` or a value of it, has rows that are no numbers,
                or has two different labels for one row.
        """
        with open_seekable(file) as stream:
            try:
                table = _parquet(file, stream) if file.endswith(".parquet") else _csv(stream)
            except (pa.ArrowException, UnicodeDecodeError, ValueError) as error:
                raise DataError(f"{file}: cannot be read: {storage.one_line(error)}") from None
        names = table.column_names
        if ID not in names:
            raise DataError(f"{file}: has no column {ID!r}; each label needs the id of its request")
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise DataError(f"{file}: has several columns {twice[0]!r}; keep one")
        columns = table.select([name for name in names if name not in (ID, ROW)])
        if not columns.num_columns:
            raise DataError(f"{file}: has no column with labels next to {ID} and {ROW}")
        key = _key(file, table)
        try:
            different = columns.append_column(_KEY, key).group_by([*columns.column_names, _KEY]).aggregate([])
        except pa.ArrowException as error:
            raise DataError(f"{file}: has labels of an unknown type: {storage.one_line(error)}") from None
        counts = pc.value_counts(different[_KEY].combine_chunks())
        if len(counts) < len(different):
            twice = counts.field("values")[int(np.argmax(counts.field("counts").to_numpy()))].as_py()
            request, _, number = twice.rpartition("\0")
            raise DataError(f"{file}: has different labels for row {number} of request {request!r}; keep one")
        return cls(file, different[_KEY].combine_chunks(), different.drop_columns([_KEY]))


def keys(request: pa.ChunkedArray, row: pa.ChunkedArray) -> pa.StringArray:
    """Request ids and row numbers as one text each."""
    return pc.binary_join_element_wise(
        request.cast(pa.string()), row.cast(pa.string()), "\0"
    ).combine_chunks()


def _csv(stream: Any) -> pa.Table:
    content = pa.py_buffer(stream.read())
    layout = csv.ParseOptions(newlines_in_values=True)
    names = csv.open_csv(pa.BufferReader(content), parse_options=layout).schema.names
    text = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    return csv.read_csv(pa.BufferReader(content), parse_options=layout, convert_options=text)


def _parquet(file: str, stream: Any) -> pa.Table:
    table = pq.ParquetFile(opened_if_sealed(file, stream)).read()
    return pa.table([plain(column.combine_chunks()) for column in table.columns], table.column_names)


def _key(file: str, table: pa.Table) -> pa.StringArray:
    request = table[ID]
    if not (is_text(request.type) or pa.types.is_integer(request.type)):
        raise DataError(f"{file}: the column {ID!r} is {request.type}; it must be text")
    without = pc.or_kleene(pc.is_null(request), pc.equal(request.cast(pa.string()), ""))
    if count := pc.sum(without).as_py():
        raise DataError(f"{file}: {count:,} rows have no {ID}; remove them")
    if ROW not in table.column_names:
        return keys(request, pa.chunked_array([pa.repeat(0, len(table))]))
    try:
        row = table[ROW].cast(pa.int64())
    except pa.ArrowException as error:
        raise DataError(
            f"{file}: the column {ROW!r} must have whole numbers, from 0: {storage.one_line(error)}"
        ) from None
    if row.null_count:
        raise DataError(f"{file}: {row.null_count:,} rows have no number in the column {ROW!r}; remove them")
    return keys(request, row)
