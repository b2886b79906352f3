"""Columns of tokens and numbers by dictionaries: what is asked of a value is asked once, not once a row.

A token stands once in a dictionary; a number may stand there more often. Null has no place.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom.data import words


def is_coded(type: pa.DataType) -> bool:
    """Whether it is the type of a column with a dictionary."""
    return pa.types.is_dictionary(type)


def coded(values: pa.Array) -> pa.Array:
    """The column by a dictionary if it has tokens or numbers, else as it is."""
    by_dictionary = pa.types.is_string(values.type) or pa.types.is_float64(values.type)
    return encoded(pa.chunked_array([values])) if by_dictionary else values


def encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The values of all chunks over one dictionary, in which each of them stands once."""
    if not len(column):
        return pa.array([], column.type).dictionary_encode()
    if found := words.encoded(column):
        places, values = found
    else:
        chunks = column.dictionary_encode().chunks  # that of each goes on where the one before ended
        places, values = pa.concat_arrays([chunk.indices for chunk in chunks]), chunks[-1].dictionary
    return pa.DictionaryArray.from_arrays(places, values, safe=False)


def taken(values: pa.Array, places: pa.Array) -> pa.Array:
    """The values at `places` that this code made itself: nobody looks whether they are there."""
    return pc.take(values, places, boundscheck=False)


def spread(values: pa.Array, places: pa.Array) -> pa.Array:
    """The column whose rows have the values at `places`, by a dictionary where `coded` gives one."""
    if is_coded(values.type):
        return pa.DictionaryArray.from_arrays(taken(values.indices, places), values.dictionary, safe=False)
    if not (pa.types.is_string(values.type) or pa.types.is_float64(values.type)):
        return taken(values, places)
    if values.null_count:
        known = values.is_valid()
        upto = np.cumsum(known.to_numpy(zero_copy_only=False), dtype=np.int32)
        places = taken(pc.if_else(known, pa.array(upto - 1, pa.int32()), None), places)
        values = values.drop_null()
    return pa.DictionaryArray.from_arrays(places, values, safe=False)


def plain(column: pa.Array) -> pa.Array:
    """The same values without a dictionary."""
    return taken(column.dictionary, column.indices) if is_coded(column.type) else column


def plain_rows(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows without dictionaries."""
    return pa.RecordBatch.from_arrays([plain(column) for column in rows.columns], rows.schema.names)


def lean(column: pa.Array) -> pa.Array:
    """Tokens with a dictionary that is not longer than the column; anything else without one."""
    if is_coded(column.type) and pa.types.is_string(column.type.value_type):
        return column if len(column.dictionary) <= len(column) else plain(column)
    return plain(column)
