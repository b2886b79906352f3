"""Rows in memory as raw columns: mappings, data frames of pandas, and Arrow tables.

Text is read like the text of a file of the source, other values like those of Parquet.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa

from ctrloom.config import SourceConfig
from ctrloom.data.arrow.dictionary import is_dictionary
from ctrloom.data.errors import DataError
from ctrloom.data.sources.header import wanted_columns
from ctrloom.data.sources.mixed import MixedColumn
from ctrloom.data.sources.python_columns import column_of, read_texts
from ctrloom.data.sources.raw import Fault, RawBatch, python_value

if TYPE_CHECKING:
    import pandas as pd

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = "Row | Sequence[Row] | pd.DataFrame | pa.Table | pa.RecordBatch"
MEMORY = "rows"  # their name in messages
_Read = tuple[dict[str, Any], int, dict[int, Fault]]  # columns, number of rows, and those that are malformed


def read_memory(rows: Rows, source: SourceConfig) -> RawBatch:
    """The columns that scoring needs; "lines" are rows from 1.

    A key that a mapping lacks is a missing value. Other columns are ignored.

    Raises:
        DataError: the rows are of no such type, or lack a column.
    """
    wanted = wanted_columns(source, with_label=False)
    columns, number, faults = (_of_table if is_table(rows) else _of_mappings)(rows, wanted)
    raw = RawBatch(
        file=MEMORY,
        lines=np.arange(1, number + 1),
        columns=columns,
        positions=np.arange(number),
        stored_bytes=0,
        text_of=lambda row: json.dumps({n: python_value(columns[n][row]) for n in wanted}, default=str),
    )
    for name, column in columns.items():
        columns[name], found = read_texts(name, column, source)
        faults = found | faults
    return raw.without(columns, faults)


def is_table(rows: Any) -> bool:
    """True for tables of Arrow and data frames of pandas, which need not be installed."""
    return isinstance(rows, pa.Table | pa.RecordBatch) or (hasattr(rows, "iloc") and hasattr(rows, "columns"))


def as_mappings(rows: Any) -> Sequence[Row]:
    """One or several mappings as a sequence.

    Raises:
        DataError: the rows are something else.
    """
    if isinstance(rows, Mapping):
        return [rows]
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes):
        raise DataError(
            f"{MEMORY}: cannot be of type {type(rows).__name__}; use mappings of column names to values, a "
            "data frame of pandas or a table of Arrow"
        )
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(
                f"row {number}: is of type {type(row).__name__}; use a mapping of column names to values"
            )
    return rows


def _require(found: Sequence[str], wanted: Sequence[str], unique: bool = False) -> None:
    """Raise DataError if a column is absent or, in a table, there twice."""
    if absent := [name for name in wanted if name not in found]:
        near = difflib.get_close_matches(absent[0], found, n=3, cutoff=0.5) or list(found[:8])
        listed = ", ".join(map(repr, absent[:8])) + (f" and {len(absent) - 8} more" if absent[8:] else "")
        similar = f"; similar names are {', '.join(map(repr, near))}" if near else ""
        raise DataError(
            f"{MEMORY}: lack the column{'s' if absent[1:] else ''} {listed}{similar}. Rows to score need the "
            "columns of the training data"
        )
    if unique and (twice := [name for name in wanted if found.count(name) > 1]):
        raise DataError(f"{MEMORY}: have {found.count(twice[0])} columns named {twice[0]!r}; rename them")


def _of_mappings(rows: Any, wanted: Sequence[str]) -> _Read:
    mappings = as_mappings(rows)
    if mappings and not any(name in row for row in mappings for name in wanted):
        _require([str(name) for name in mappings[0]], wanted)
    columns, faults = dict[str, Any](), dict[int, Fault]()
    for name in wanted:
        columns[name], found = column_of(name, [row.get(name) for row in mappings])
        faults = found | faults
    return columns, len(mappings), faults


def _of_table(table: Any, wanted: Sequence[str]) -> _Read:
    framed = hasattr(table, "iloc")
    names = [*map(str, table.columns if framed else table.schema.names)]
    _require(names, wanted, unique=True)
    columns, faults = dict[str, Any](), dict[int, Fault]()
    for name in wanted:
        at = names.index(name)
        if framed:
            columns[name], found = _of_frame(table.iloc[:, at])
            faults = found | faults
        else:
            columns[name] = _plain(table.column(at))
    return columns, len(table), faults


def _of_frame(series: Any) -> tuple[pa.Array | MixedColumn, dict[int, Fault]]:
    """A column of pandas; one of objects may hold several types."""
    if series.dtype == object:
        return column_of(series.name, series.tolist())
    return _plain(pa.array(series, from_pandas=True)), {}


def _plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column in one piece, without a dictionary."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.dictionary.take(column.indices) if is_dictionary(column.type) else column
