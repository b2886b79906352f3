"""Tokens of eight bytes, as hashed ones mostly are, told apart as numbers: in half the time of texts."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BYTES = 8
HEAD = 64  # so many are looked at before all are
SORTED = 1 << 18  # as many are sooner sorted than hashed, and in a third of the memory


def encoded(column: pa.ChunkedArray) -> tuple[pa.Array, pa.Array] | None:
    """Places of all values in a dictionary, and it; None unless each value has eight bytes, or no byte."""
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    bounds = [_bounds(chunk) for chunk in chunks]
    if not all(map(_fits, bounds)):
        return None
    words = pa.chunked_array(list(map(_words, chunks, bounds)), pa.uint64())
    if not len(words):
        return None
    places, different = _told_apart(words)
    values = _texts(different, column.type)
    if len(places) == len(column):
        return places, values
    filled_N = np.concatenate([np.diff(bounds_N) > 0 for bounds_N in bounds])
    places_N = np.full(len(column), len(values), dtype=np.int32)
    places_N[filled_N] = places.to_numpy()
    return pa.array(places_N), pa.concat_arrays([values, pa.array([""], column.type)])


def _bounds(texts: pa.Array) -> NDArray[np.int32]:
    """Where each text begins and the last one ends; nothing where some are null."""
    if texts.null_count or not (pa.types.is_string(texts.type) or pa.types.is_binary(texts.type)):
        return np.zeros(0, np.int32)
    offsets_N = np.frombuffer(texts.buffers()[1], np.int32)
    return offsets_N[texts.offset : texts.offset + len(texts) + 1]


def _fits(bounds_N: NDArray[np.int32]) -> bool:
    if len(bounds_N) > HEAD and not _fits(bounds_N[:HEAD]):
        return False
    size_N = np.diff(bounds_N)
    # None is longer, and those that are not empty have so many bytes on average.
    return (
        len(size_N) > 0
        and size_N.max() <= BYTES
        and int(bounds_N[-1] - bounds_N[0]) == BYTES * np.count_nonzero(size_N)
        and int(bounds_N[0]) % BYTES == 0
    )


def _words(texts: pa.Array, bounds_N: NDArray[np.int32]) -> pa.UInt64Array:
    """The bytes of all that are not empty, as numbers."""
    first, total = int(bounds_N[0]), int(bounds_N[-1] - bounds_N[0])
    data = texts.buffers()[2].slice(first, total) if total else pa.py_buffer(b"")
    return pa.Array.from_buffers(pa.uint64(), total // BYTES, [None, data])


def _told_apart(words: pa.ChunkedArray) -> tuple[pa.Array, pa.UInt64Array]:
    """The place of each word, and the word of each place."""
    if len(words) >= SORTED:
        word_K, place_N = np.unique(words.to_numpy(), return_inverse=True)
        return pa.array(place_N.astype(np.int32)), pa.array(word_K)
    chunks = words.dictionary_encode().chunks
    return pa.concat_arrays([chunk.indices for chunk in chunks]), chunks[-1].dictionary


def _texts(words: pa.UInt64Array, type: pa.DataType) -> pa.Array:
    offsets = np.arange(len(words) + 1, dtype=np.int32) * BYTES
    data = words.buffers()[1].slice(words.offset * BYTES)
    return pa.Array.from_buffers(type, len(words), [None, pa.py_buffer(offsets), data])
