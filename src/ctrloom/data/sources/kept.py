"""Columns that are passed through next to the scores, as they are in the file, known to the model or not."""

import difflib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ctrloom.data.errors import DataError


def require_kept(file: str, found: Sequence[str], keep: Sequence[str]) -> None:
    """Check the names of columns to keep against those of a file.

    Raises:
        DataError: one is absent, or there are several of that name.
    """
    for name in keep:
        if name not in found:
            near = difflib.get_close_matches(name, found, n=3, cutoff=0.5) or list(found[:8])
            raise DataError(
                f"{file}: has no column {name!r} to keep; similar names are {', '.join(map(repr, near))}"
            )
        if found.count(name) > 1:
            raise DataError(
                f"{file}: has {found.count(name)} columns named {name!r}; rename them to keep one"
            )


def as_text(column: pa.ChunkedArray) -> pa.Array:
    """The values of a text file; bytes that are not UTF-8 as their numbers, after a backslash and x."""
    try:
        return _whole(column.cast(pa.string()))
    except pa.ArrowInvalid:
        values = column.to_pylist()
        return pa.array([value.decode(errors="backslashreplace") for value in values], pa.string())


def spread(columns: dict[str, pa.Array], positions: np.ndarray, rows: int) -> pa.RecordBatch:
    """The columns with one value per row of a batch: null for those that are not at one of `positions`."""
    if len(positions) < rows:
        places = np.full(rows, -1)
        places[positions] = np.arange(len(positions))
        places = pa.array(places, mask=places < 0)
        columns = {name: column.take(places) for name, column in columns.items()}
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
