"""Rows in memory as raw columns: mappings, data frames of pandas, and Arrow tables.

Text is read like the text of a file of the source, other values like those of Parquet.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom.config import SourceConfig
from ctrloom.data.arrow.dictionary import is_dictionary
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.tokens import is_text
from ctrloom.data.sources import libsvm
from ctrloom.data.sources.header import wanted_columns
from ctrloom.data.sources.mixed import MixedColumn
from ctrloom.data.sources.raw import Fault, RawBatch, python_value

if TYPE_CHECKING:
    import pandas as pd

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = "Row | Sequence[Row] | pd.DataFrame | pa.Table | pa.RecordBatch"
MEMORY = "rows"  # their name in messages
_Read = tuple[dict[str, Any], int, dict[int, Fault]]  # columns, number of rows, and those that are malformed
_UNUSABLE = pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError
_ABSENT = "NAType", "NaTType"  # of pandas


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
    raw = raw.without({name: _each_text(column, source) for name, column in columns.items()}, faults)
    return libsvm.indices_or_values(raw, source) if source.has_indices else raw


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
        columns[name], bad = column_of([row.get(name) for row in mappings])
        faults = {row: (f"{name} {what}", repr(value)) for row, (what, value) in bad.items()} | faults
    return columns, len(mappings), faults


def _of_table(table: Any, wanted: Sequence[str]) -> _Read:
    framed = hasattr(table, "iloc")
    names = [*map(str, table.columns if framed else table.schema.names)]
    _require(names, wanted, unique=True)
    at = {name: names.index(name) for name in wanted}
    columns = {name: _plain(table.iloc[:, i] if framed else table.column(i)) for name, i in at.items()}
    return columns, len(table), {}


def _plain(column: Any) -> pa.Array | MixedColumn:
    """One column of a table of Arrow or a data frame."""
    if isinstance(column, pa.ChunkedArray | pa.Array):
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    else:
        try:
            array = pa.array(column, from_pandas=True)
        except pa.ArrowException:  # objects of several types
            found, bad = column_of(list(column))
            for row, (what, value) in bad.items():
                raise DataError(f"row {row}: {column.name} {what}: {value!r}") from None
            return found
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array.dictionary.take(array.indices) if is_dictionary(array.type) else array


def column_of(values: Sequence[Any]) -> tuple[MixedColumn, dict[int, tuple[str, Any]]]:
    """Values of any types as a column, and those that are not values, which are null in it."""
    groups: dict[Any, list[int]] = {}
    for row, value in enumerate(values):
        groups.setdefault(_kind(value), []).append(row)
    absent = groups.pop(None, [])
    first, *others = groups.values() or [[]]
    arrays, order, faults = list[pa.Array](), list[int](), dict[int, tuple[str, Any]]()
    for rows in (first + absent, *others):
        array, bad = _array([values[row] for row in rows])
        arrays.append(array)
        order += rows
        faults |= {rows[at]: (what, values[rows[at]]) for at, what in bad.items()}
    place_N = np.empty(len(order), np.int64)
    place_N[order] = np.arange(len(order))
    return MixedColumn(tuple(arrays), place_N), faults


def _kind(value: Any) -> Any:
    """What values that share an array have in common; None for no value."""
    kind = type(value)
    if value is None or kind.__name__ in _ABSENT or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return kind, "large"
    if isinstance(value, datetime):
        return kind, value.tzinfo is None
    if isinstance(value, list | tuple):
        return kind, frozenset(map(_kind, value))
    return kind


def _array(values: Sequence[Any]) -> tuple[pa.Array, dict[int, str]]:
    """Values of one kind, or none, as an array, and which of them are not values, with the reason."""
    try:
        array = pa.array(values, from_pandas=True)
        return array.cast(pa.string()) if pa.types.is_null(array.type) else array, {}
    except _UNUSABLE:
        pass
    faults, usable = dict[int, str](), list[Any]()
    for at, value in enumerate(values):
        try:
            pa.array([value], from_pandas=True)
        except _UNUSABLE as error:
            faults[at] = "is not UTF-8" if isinstance(error, UnicodeError) else f"holds {_named(value)}"
        usable.append(None if at in faults else value)
    return pa.array(usable, pa.string() if len(faults) == len(values) else None, from_pandas=True), faults


def _named(value: Any) -> str:
    return f"{type(value).__name__}, which is not a value"


def _each_text(column: pa.Array | MixedColumn, source: SourceConfig) -> pa.Array | MixedColumn:
    """The column with its texts trimmed as the source says."""
    if isinstance(column, MixedColumn):
        return MixedColumn(tuple(_trimmed(array, source) for array in column.arrays), column.place_N)
    return _trimmed(column, source)


def _trimmed(array: pa.Array, source: SourceConfig) -> pa.Array:
    trims = source.trim and is_text(array.type)
    return pc.utf8_trim(array.cast(pa.string()), " ") if trims else array
