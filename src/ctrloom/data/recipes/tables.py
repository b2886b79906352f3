"""Tables that are published apart and belong together: small ones, in memory."""

from pathlib import Path

import pandas as pd

from ctrloom import storage
from ctrloom.data.errors import DataError


def joined(rows: pd.DataFrame, *tables: pd.DataFrame) -> pd.DataFrame:
    """Rows in their order with what the tables know of them; the first column of a table is its key.

    Raises:
        DataError: a row names something that a table does not have, or a table has a key twice.
    """
    for table in tables:
        key = table.columns[0]
        if table[key].duplicated().any():
            raise DataError(f"a table of the originals has the same {key} twice; fetch the originals again")
        if unknown := int((~rows[key].isin(table[key])).sum()):
            raise DataError(f"{unknown} rows name a {key} that the tables do not have; fetch them again")
        rows = rows.merge(table, on=key)
    return rows


def write_tsv(rows: pd.DataFrame, file: Path) -> Path:
    """Write rows with a header, whole or not at all; returns the file."""
    with storage.atomic_file(file) as aside:
        rows.to_csv(aside, sep="\t", index=False)
    return file
