"""Values at indices of a dictionary.

If an index or a value may be null, Arrow checks each one, which takes up to eight times as long. Here they
are looked up as if none was null, and marked null afterwards.
"""

from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Values = TypeVar("Values", pa.Array, np.ndarray)


def valid(column: pa.Array) -> NDArray[np.bool_]:
    """Mask of the values that are not null."""
    if not column.null_count:
        return np.ones(len(column), dtype=bool)
    bits, start = np.frombuffer(column.buffers()[0], np.uint8), column.offset
    return np.unpackbits(bits, count=start + len(column), bitorder="little")[start:].view(bool)


def masked(value_N: NDArray[Any], valid_N: NDArray[np.bool_]) -> pa.Array:
    """The numbers as a column; those that are not valid are null."""
    buffers = [pa.py_buffer(np.packbits(valid_N, bitorder="little")), pa.py_buffer(value_N)]
    return pa.Array.from_buffers(pa.from_numpy_dtype(value_N.dtype), len(value_N), buffers)


def filled(column: pa.Array, number: int) -> NDArray[Any]:
    """The numbers of a column; null is `number`."""
    if not column.null_count:
        return np.asarray(column.to_numpy())
    value_N = _numbers(column) - number
    value_N *= valid(column)
    value_N += number
    return value_N


def taken(values: pa.Array, places: pa.Array) -> pa.Array:
    """The values at `places`, without bounds checks: they must be valid indices."""
    nulls = values.null_count or places.null_count
    if not (nulls and len(values) and _has_numbers(values.type)):
        return pc.take(values, places, boundscheck=False)
    place_N = filled(places, 0)
    bare = pa.Array.from_buffers(values.type, len(values), [None, values.buffers()[1]], offset=values.offset)
    found = pc.take(bare, pa.array(place_N), boundscheck=False)
    valid_N = valid(places)
    if values.null_count:
        valid_N &= valid(values).take(place_N)
    return masked(found.to_numpy(), valid_N)


def those(values: Values, chosen_N: NDArray[np.bool_]) -> Values:
    """Filter values by a mask; a view if the first ones are chosen, which is common."""
    number = int(np.count_nonzero(chosen_N))
    if chosen_N[:number].all():
        return values[:number]
    return values.filter(pa.array(chosen_N)) if isinstance(values, pa.Array) else values[chosen_N]


def _has_numbers(type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type) or pa.types.is_floating(type))


def _numbers(column: pa.Array) -> NDArray[Any]:
    """The numbers in memory, including those behind nulls."""
    here = slice(column.offset, column.offset + len(column))
    return np.frombuffer(column.buffers()[1], column.type.to_pandas_dtype())[here]
