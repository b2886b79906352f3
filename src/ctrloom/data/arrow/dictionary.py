"""Columns of tokens and numbers by dictionaries: what is asked of a value is asked once, not once a row.

A token stands once in a dictionary; a number may stand there more often. Null is there, too, where `spread`
made it, and else has no place.
"""

import numpy as np
import pyarrow as pa

from ctrloom.data.arrow import factorize
from ctrloom.data.arrow.take import filled, masked, taken, those, valid


def is_coded(type: pa.DataType) -> bool:
    """Whether it is the type of a column with a dictionary."""
    return pa.types.is_dictionary(type)


def coded(values: pa.Array) -> pa.Array:
    """The column by a dictionary without null if it has tokens or numbers, else as it is."""
    if is_coded(values.type):
        return without_null(values)
    by_dictionary = pa.types.is_string(values.type) or pa.types.is_float64(values.type)
    return encoded(pa.chunked_array([values])) if by_dictionary else values


def coded_rows(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows, tokens and numbers by dictionaries."""
    return pa.RecordBatch.from_arrays([coded(column) for column in rows.columns], rows.schema.names)


def encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The values of all chunks over one dictionary, in which each of them stands once."""
    if not len(column):
        return pa.array([], column.type).dictionary_encode()
    if found := factorize.encoded(column):
        places, values = found
    else:
        chunks = column.dictionary_encode().chunks  # that of each goes on where the one before ended
        places, values = pa.concat_arrays([chunk.indices for chunk in chunks]), chunks[-1].dictionary
    return pa.DictionaryArray.from_arrays(places, values, safe=False)


def spread(values: pa.Array, places: pa.Array) -> pa.Array:
    """The column whose rows have the values at `places`, by a dictionary where `coded` gives one.

    No place is null, and all are there.
    """
    if is_coded(values.type):
        return pa.DictionaryArray.from_arrays(taken(values.indices, places), values.dictionary, safe=False)
    if not (pa.types.is_string(values.type) or pa.types.is_float64(values.type)):
        return taken(values, places)
    return pa.DictionaryArray.from_arrays(places, values, safe=False)


def rows_at(rows: pa.RecordBatch, places: np.ndarray) -> pa.RecordBatch:
    """Some of the rows, their columns by the same dictionaries."""
    at = pa.array(places.astype(np.int32))
    return pa.RecordBatch.from_arrays([spread(column, at) for column in rows.columns], rows.schema.names)


def plain(column: pa.Array) -> pa.Array:
    """The same values without a dictionary."""
    return taken(column.dictionary, column.indices) if is_coded(column.type) else column


def plain_rows(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows without dictionaries."""
    return pa.RecordBatch.from_arrays([plain(column) for column in rows.columns], rows.schema.names)


def lean(column: pa.Array) -> pa.Array:
    """Tokens with a dictionary that is not longer than the column; anything else without one."""
    if is_coded(column.type) and pa.types.is_string(column.type.value_type):
        return without_null(column) if len(column.dictionary) <= len(column) else plain(column)
    return plain(column)


def without_null(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """The column with nulls in its rows, and none in its dictionary."""
    if not column.dictionary.null_count:
        return column
    known_K = valid(column.dictionary)
    upto_K = np.cumsum(known_K, dtype=np.int32) * known_K  # 0 is null
    upto_N = filled(taken(pa.array(upto_K), column.indices), 0)
    places = masked(np.maximum(upto_N - 1, 0), upto_N > 0)
    return pa.DictionaryArray.from_arrays(places, those(column.dictionary, known_K), safe=False)
