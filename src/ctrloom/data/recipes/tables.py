"""In-memory joins of small tables that are published as separate files."""

from pathlib import Path

import pandas as pd

from ctrloom import storage
from ctrloom.data.errors import DataError


def joined(rows: pd.DataFrame, *tables: pd.DataFrame) -> pd.DataFrame:
    """Left join of rows with tables, in row order; the first column of a table is its key.

    Raises:
        DataError: a key is missing from a table, or is not unique in it.
    """
    for table in tables:
        key = table.columns[0]
        if table[key].duplicated().any():
            raise DataError(f"duplicate {key} in a table of the original files; download them again")
        if unknown := int((~rows[key].isin(table[key])).sum()):
            raise DataError(f"{unknown} rows have an unknown {key}; download the original files again")
        rows = rows.merge(table, on=key)
    return rows


def write_tsv(rows: pd.DataFrame, file: Path) -> Path:
    """Write rows with a header atomically; returns the file."""
    with storage.atomic_file(file) as temporary:
        rows.to_csv(temporary, sep="\t", index=False)
    return file
