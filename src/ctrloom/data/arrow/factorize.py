"""Tokens of eight bytes, as most hashed ones are, factorized as integers: three times as fast."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ctrloom.data.arrow.take import masked, valid

HEAD = 64  # tokens checked before all are
LEAST = 10_000  # tokens for which pandas is worth its import


def encoded(column: pa.ChunkedArray) -> tuple[pa.Array, pa.Array] | None:
    """Indices of all values and their dictionary; None unless every value has eight bytes or is empty.

    Without pandas, always None.
    """
    filled, found = [np.zeros(0, dtype=bool)], [np.zeros(0, dtype=np.uint64)]
    for chunk in column.chunks:
        if len(chunk):
            filled_N = _filled(chunk)
            if filled_N is None:
                return None
            filled.append(filled_N)
            found.append(_words(chunk))
    word_N = np.concatenate(found)
    if not len(word_N):
        return None
    try:
        import pandas as pd  # a quarter of a second, which steps that only read rows do not need
    except ModuleNotFoundError:  # scoring does not need it
        return None

    place_N, word_K = pd.factorize(word_N)
    values = _texts(word_K, column.type)
    if len(word_N) == len(column):
        return pa.array(place_N.astype(np.int32)), values
    filled_M = np.concatenate(filled)
    place_M = np.full(len(column), len(values), dtype=np.int32)
    place_M[filled_M] = place_N
    if not column.null_count:
        return pa.array(place_M), _with_empty(values)
    valid_M = np.concatenate([valid(chunk) for chunk in column.chunks])
    values = _with_empty(values) if (valid_M & ~filled_M).any() else values
    return masked(place_M * valid_M, valid_M), values


def _with_empty(values: pa.Array) -> pa.Array:
    return pa.concat_arrays([values, pa.array([""], values.type)])


def _filled(texts: pa.Array) -> NDArray[np.bool_] | None:
    """Mask of the texts of eight bytes; None if another one, or a null, is not empty."""
    if not (pa.types.is_string(texts.type) or pa.types.is_binary(texts.type)):
        return None
    bounds_N = _bounds(texts)
    if _eights(bounds_N[:HEAD]) is None:
        return None
    filled_N = _eights(bounds_N)
    if filled_N is None or (texts.null_count and (filled_N & ~valid(texts)).any()):
        return None
    return filled_N


def _eights(bounds_N: NDArray[np.int32]) -> NDArray[np.bool_] | None:
    eight_N = np.diff(bounds_N) == 8
    # If these take up all bytes, the others are empty.
    return eight_N if bounds_N[-1] - bounds_N[0] == 8 * np.count_nonzero(eight_N) else None


def _bounds(texts: pa.Array) -> NDArray[np.int32]:
    """Offsets of the texts, and the end of the last one."""
    return np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]


def _words(texts: pa.Array) -> NDArray[np.uint64]:
    """The bytes of all texts that are not empty, as integers."""
    first, stop = (int(bound) for bound in _bounds(texts)[[0, -1]])
    return np.frombuffer(texts.buffers()[2] or b"", np.uint64, (stop - first) // 8, first)


def _texts(word_K: NDArray[np.uint64], type: pa.DataType) -> pa.Array:
    offsets, data = _owned(np.arange(len(word_K) + 1, dtype=np.int32) * 8), _owned(word_K)
    return pa.Array.from_buffers(type, len(word_K), [None, offsets, data])


def _owned(values: NDArray[Any]) -> pa.Buffer:
    """A copy in Arrow's memory pool: long-lived dictionaries would fragment the heap of short-lived data."""
    buffer = pa.allocate_buffer(values.nbytes)
    np.frombuffer(buffer, values.dtype)[:] = values
    return buffer
