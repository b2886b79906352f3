"""Dictionary-encoded columns of tokens and numbers, so that work is done once per value, not per row.

Tokens are unique in a dictionary; numbers may be repeated. A dictionary contains null only if `take_encoded`
made it.
"""

import numpy as np
import pyarrow as pa

from ctrloom.data.arrow import factorize
from ctrloom.data.arrow.take import filled, masked, taken, those, valid


def is_dictionary(type: pa.DataType) -> bool:
    """True for a dictionary type."""
    return pa.types.is_dictionary(type)


def dictionary_encode(values: pa.Array) -> pa.Array:
    """Dictionary-encode tokens or numbers, without null in the dictionary; other columns are unchanged."""
    if is_dictionary(values.type):
        return without_null(values)
    by_dictionary = pa.types.is_string(values.type) or pa.types.is_float64(values.type)
    return encode_chunks(pa.chunked_array([values])) if by_dictionary else values


def dictionary_encode_rows(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows with tokens and numbers dictionary-encoded."""
    return pa.RecordBatch.from_arrays(
        [dictionary_encode(column) for column in rows.columns], rows.schema.names
    )


def encode_chunks(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The values of all chunks over one dictionary of unique values."""
    if not len(column):
        return pa.array([], column.type).dictionary_encode()
    if len(column) >= factorize.LEAST and (found := factorize.encoded(column)):
        places, values = found
    else:
        chunks = column.dictionary_encode().chunks  # each dictionary extends the one before it
        places, values = pa.concat_arrays([chunk.indices for chunk in chunks]), chunks[-1].dictionary
    return pa.DictionaryArray.from_arrays(places, values, safe=False)


def take_encoded(values: pa.Array, places: pa.Array) -> pa.Array:
    """The values at `places`, dictionary-encoded for the types of `dictionary_encode`.

    `places` must be valid indices without nulls.
    """
    if is_dictionary(values.type):
        return pa.DictionaryArray.from_arrays(taken(values.indices, places), values.dictionary, safe=False)
    if not (pa.types.is_string(values.type) or pa.types.is_float64(values.type)):
        return taken(values, places)
    return pa.DictionaryArray.from_arrays(places, values, safe=False)


def rows_at(rows: pa.RecordBatch, places: np.ndarray) -> pa.RecordBatch:
    """Some of the rows, with the same dictionaries."""
    at = pa.array(places.astype(np.int32))
    return pa.RecordBatch.from_arrays(
        [take_encoded(column, at) for column in rows.columns], rows.schema.names
    )


def plain(column: pa.Array) -> pa.Array:
    """The same values without a dictionary."""
    return taken(column.dictionary, column.indices) if is_dictionary(column.type) else column


def plain_rows(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows without dictionaries."""
    return pa.RecordBatch.from_arrays([plain(column) for column in rows.columns], rows.schema.names)


def lean(column: pa.Array) -> pa.Array:
    """Keep the dictionary of tokens if it is not longer than the column; decode everything else."""
    if is_dictionary(column.type) and pa.types.is_string(column.type.value_type):
        return without_null(column) if len(column.dictionary) <= len(column) else plain(column)
    return plain(column)


def without_null(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """The column with nulls as null indices instead of dictionary entries."""
    if not column.dictionary.null_count:
        return column
    known_K = valid(column.dictionary)
    upto_K = np.cumsum(known_K, dtype=np.int32) * known_K  # 0 is null
    upto_N = filled(taken(pa.array(upto_K), column.indices), 0)
    places = masked(np.maximum(upto_N - 1, 0), upto_N > 0)
    return pa.DictionaryArray.from_arrays(places, those(column.dictionary, known_K), safe=False)
