"""Lists of tokens in multi-valued columns: lists of Parquet, JSON lists, and text with a separator."""

import json
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom.config import Multivalued
from ctrloom.data.ingest.converters import Fault, fault_of
from ctrloom.data.ingest.tokens import text, tokens


def token_lists(
    column: str, values: pa.Array, config: Multivalued, missing: pa.Array
) -> tuple[pa.Array, list[Fault]]:
    """A multi-valued column: a list of tokens per row, empty if missing."""
    faults: list[Fault] = []
    if not _is_list(values.type):
        cells = tokens(values, missing)
        if config.format == "json":
            values, bad = _of_json(cells)
            faults = fault_of(column, bad, "is not a JSON list of values")
        else:
            values = pc.split_pattern(pc.fill_null(cells, ""), config.separator)
    flat = tokens(pc.list_flatten(values), missing)
    parents = pc.list_parent_indices(values).to_numpy()
    kept = pc.fill_null(pc.not_equal(flat, ""), False).to_numpy(zero_copy_only=False)
    sizes = np.bincount(parents[kept], minlength=len(values))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat.filter(pa.array(kept))), faults


def _is_list(type: pa.DataType) -> bool:
    kinds = pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list
    return any(kind(type) for kind in kinds)


def _of_json(cells: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Lists of the elements as text, and which cells are no lists; null is an empty list."""
    found = [[] if cell is None else elements_of(cell) for cell in cells.to_pylist()]
    lists = pa.array([elements or [] for elements in found], pa.list_(pa.string()))
    return lists, np.array([elements is None for elements in found], dtype=bool)


def elements_of(cell: str) -> list[str | None] | None:
    """The elements of a JSON list as text; None if it is none, or is nested."""
    try:
        # Numbers have the text that they have in Parquet.
        found = json.loads(cell, parse_float=_number, parse_int=_whole, parse_constant=_number)
    except (ValueError, RecursionError):
        return None
    if found is None:
        return []
    if not isinstance(found, list) or not all(map(_is_element, found)):
        return None
    return [str(each).lower() if isinstance(each, bool) else each for each in found]


def _is_element(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    return value is None or isinstance(value, bool)


def _whole(written: str) -> str:
    return "0" if written == "-0" else written


@lru_cache(maxsize=1 << 16)
def _number(written: str) -> str | None:
    found: str | None = text(pa.array([float(written)]))[0].as_py()
    return found
