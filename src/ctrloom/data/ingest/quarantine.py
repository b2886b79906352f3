"""Quarantine of malformed rows with file, line and reason; too many of them stop ingest."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from ctrloom.data.errors import DataError
from ctrloom.data.sources.raw import Malformed

SCHEMA = pa.schema({"file": pa.string(), "line": pa.int64(), "reason": pa.string(), "text": pa.string()})
QUARANTINE = "quarantine.parquet"
_ADVICE = {  # by what is in a reason: the keys that may be wrong
    "UTF-8": "`encoding` (for example latin-1)",
    "columns instead of": "`delimiter`, `quoting`",
    "quote": "`quoting` (false if quotes are parts of values)",
    "is not a number: .*[0-9]": "`decimal`, `thousands` and `symbol` of numeric columns",
}
_BUFFER = 10_000
_SHOWN = 3
_ENOUGH = 1000  # minimum number of rows for a meaningful share of malformed rows


class Quarantine:
    """Writes malformed rows to one Parquet file; use as a context manager."""

    def __init__(self, path: Path, max_share: float, kept_at: str) -> None:
        self.max_share, self.kept_at = max_share, kept_at
        self.writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self.waiting: list[Malformed] = []
        self.first: list[Malformed] = []
        self.faults: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self.writer.close()

    @property
    def rows(self) -> int:
        """Malformed rows so far."""
        return self.faults.total()

    def add(self, malformed: list[Malformed]) -> None:
        """Add malformed rows."""
        self.first += malformed[: _SHOWN - len(self.first)]
        self.faults.update(row.fault for row in malformed)
        self.waiting += malformed
        if len(self.waiting) >= _BUFFER:
            self._flush()

    def check(self, rows: int, share_read: float) -> None:
        """Raise DataError if more than the allowed share of rows is malformed, or certainly will be.

        Args:
            rows: rows read so far, including malformed ones.
            share_read: share of all bytes read so far; 1 at the end.
        """
        expected = rows / share_read if share_read else float("inf")
        if not self.rows or self.rows <= self.max_share * expected or (rows < _ENOUGH and share_read < 1):
            return
        require_few(self.rows, rows, self.max_share, self.kept_at, self.first)

    def _flush(self) -> None:
        if self.waiting:
            values = [[getattr(row, name) for row in self.waiting] for name in SCHEMA.names]
            self.writer.write_table(pa.table(values, schema=SCHEMA))
            self.waiting = []


def require_few(
    malformed: int, rows: int, max_share: float, kept_at: str, first: Sequence[Malformed] = ()
) -> None:
    """Raise DataError if more than the allowed share of rows is malformed; `first` are examples."""
    if malformed <= max_share * rows:
        return
    shown = "; ".join(row.described for row in first)
    raise DataError(
        f"{malformed:,} of {rows:,} rows are malformed, more than max_malformed allows ({max_share:.2%})"
        f"{f': {shown}' if shown else ''}{'; ...' if shown and malformed > len(first) else ''}. "
        f"The full list is in {kept_at}. {_advice(first)} the files, or raise max_malformed"
    )


def _advice(first: Sequence[Malformed]) -> str:
    advice = [keys for what, keys in _ADVICE.items() if any(re.search(what, row.reason) for row in first)]
    return f"Check {', '.join(advice)} or" if advice else "Fix `columns` or"
