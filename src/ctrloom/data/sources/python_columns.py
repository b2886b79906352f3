"""Columns of Python values of any types, and how text in memory is read."""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom.config import SourceConfig
from ctrloom.data.ingest.tokens import is_text, text
from ctrloom.data.sources.libsvm import index_or_value
from ctrloom.data.sources.mixed import MixedColumn
from ctrloom.data.sources.raw import Fault

_UNUSABLE = pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError
_ABSENT = "NAType", "NaTType"  # of pandas
_SEVERAL = "several"  # types in one list
_LARGE, _LARGER = "uint64", "more bits"  # integers


def column_of(name: str, values: Sequence[Any]) -> tuple[MixedColumn, dict[int, Fault]]:
    """Values of any types as a column; those that no column can have are null in it, and faults."""
    groups: dict[Any, list[int]] = {}
    for row, value in enumerate(values):
        groups.setdefault(_kind(value), []).append(row)
    absent = groups.pop(None, [])
    arrays, order, faults = list[pa.Array](), list[int](), dict[int, Fault]()
    for kind, rows in groups.items() or [(None, [])]:
        made = _MADE.get(kind, lambda value: value)
        chosen = [made(values[row]) for row in rows]
        if not arrays:
            rows, chosen = rows + absent, chosen + [None] * len(absent)
        array, found = _array(chosen)
        faults |= {rows[at]: (f"{name} {what}", repr(values[rows[at]])) for at, what in found.items()}
        arrays.append(array)
        order += rows
    place_N = np.empty(len(order), np.int64)
    place_N[order] = np.arange(len(order))
    return MixedColumn(tuple(arrays), place_N), faults


def _kind(value: Any) -> Any:
    """What values that share an array have in common; None for no value."""
    kind = type(value)
    if value is None or kind.__name__ in _ABSENT or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return _LARGE if 0 < value < 2**64 else _LARGER
    if isinstance(value, datetime):
        return kind, value.tzinfo is None
    if isinstance(value, list | tuple):
        kinds = frozenset(map(_kind, value)) - {None}
        return _SEVERAL if len(kinds) > 1 or kinds & {_LARGE, _LARGER} else (kind, kinds)
    return kind


def _array(values: Sequence[Any]) -> tuple[pa.Array, dict[int, str]]:
    """Values of one kind, or none, as an array, and which of them it cannot have, with the reason."""
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
            what = f"holds {type(value).__name__}, which is not a value"
            faults[at] = "is not UTF-8" if isinstance(error, UnicodeError) else what
        usable.append(None if at in faults else value)
    if len(faults) < len(values):
        return pa.array(usable, from_pandas=True), faults
    return pa.nulls(len(values), pa.string()), faults


def _texts(values: Sequence[Any]) -> Any:
    """Elements of several types as text, as in a JSON list; unchanged if one of them has none."""
    try:
        return [_text(each) for each in values]
    except _UNUSABLE:
        return values


def _text(value: Any) -> str | None:
    if type(value) in (str, int):
        return str(value)
    found: str | None = text(pa.array([value], from_pandas=True))[0].as_py()
    return found


_MADE: dict[Any, Callable[[Any], Any]] = {_SEVERAL: _texts, _LARGE: np.uint64, _LARGER: Decimal}


def read_texts(
    name: str, column: pa.Array | MixedColumn, source: SourceConfig
) -> tuple[pa.Array | MixedColumn, dict[int, Fault]]:
    """The column with its text read as that of a file of the source, and the faults of its rows."""
    if not isinstance(column, MixedColumn):
        return _read(name, column, source)
    row_N, arrays, faults, start = np.argsort(column.place_N), list[pa.Array](), dict[int, Fault](), 0
    for array in column.arrays:
        made, found = _read(name, array, source)
        faults |= {int(row_N[start + at]): fault for at, fault in found.items()}
        arrays.append(made)
        start += len(array)
    return MixedColumn(tuple(arrays), column.place_N), faults


def _read(name: str, array: pa.Array, source: SourceConfig) -> tuple[pa.Array, dict[int, Fault]]:
    if not is_text(array.type) or not (source.trim or source.has_indices):
        return array, {}
    array = array.cast(pa.string())
    if not source.has_indices:
        return pc.utf8_trim(array, " "), {}
    known_M = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
    given, found = index_or_value(name, array.drop_null(), source)
    place_N = pa.array(np.cumsum(array.is_valid().to_numpy(zero_copy_only=False)) - 1)
    return given.take(pc.if_else(array.is_valid(), place_N, None)), {
        int(known_M[at]): fault for at, fault in found.items()
    }
