"""Logged traffic of a server with labels that came later: raw rows for drift, the gate and training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from ctrloom import storage
from ctrloom.config.base import ConfigError
from ctrloom.data.arrow.dictionary import plain
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.tokens import tokens
from ctrloom.data.parquet.reader import read_table
from ctrloom.data.sources.files import open_seekable
from ctrloom.progress import progress
from ctrloom.storage import Place

PREFIX = "ctrloom."  # of the columns that are not raw ones
META = "request_id", "row", "time", "model_version", "probability", "malformed"
CHUNK = 500_000  # rows that are joined at once
ENDINGS = ".parquet", ".csv"


@dataclass(frozen=True)
class Joined:
    """Rows of the log, those that have a label, and labels without a row."""

    logged: int
    written: int
    unused_labels: int


@dataclass(frozen=True)
class Labels:
    """Label columns, and the key of each row: request id and row number."""

    key: pa.StringArray
    columns: pa.Table

    @classmethod
    def read(cls, file: str) -> Self:
        """Read CSV or Parquet with `request_id`, `row` (0 if there is no such column) and label columns.

        Raises:
            DataError: it cannot be read, lacks `request_id`, or has two different labels for one row.
        """
        with open_seekable(file) as stream:
            try:
                parquet = file.endswith(".parquet")
                table = pq.read_table(stream) if parquet else csv.read_csv(stream, convert_options=_TEXT)
            except pa.ArrowException as error:
                raise DataError(f"{file}: cannot be read: {storage.one_line(error)}") from None
        if "request_id" not in table.column_names:
            raise DataError(f"{file}: has no column 'request_id'; each label needs the id of its request")
        row = table["row"] if "row" in table.column_names else pa.chunked_array([pa.repeat("0", len(table))])
        table = table.append_column(PREFIX, _keys(table["request_id"], row))
        values = table.drop_columns([name for name in ("request_id", "row") if name in table.column_names])
        if not len(values.column_names) > 1:
            raise DataError(f"{file}: has no column with labels next to request_id and row")
        different = values.group_by(values.column_names).aggregate([])
        key = different[PREFIX].combine_chunks()
        counts = pc.value_counts(key)
        if len(counts) < len(key):
            twice = counts.field("values")[int(np.argmax(counts.field("counts").to_numpy()))].as_py()
            request, _, number = twice.rpartition("\0")
            raise DataError(f"{file}: has different labels for row {number} of request {request!r}; keep one")
        return cls(key, different.drop_columns([PREFIX]))


_TEXT = csv.ConvertOptions(column_types={"request_id": pa.string(), "row": pa.string()})


def join_labels(
    log: Place,
    labels: str,
    output: Path,
    *,
    unlabelled: str | None = None,
    since: date | None = None,
    until: date | None = None,
    keep: Sequence[str] = (),
    time: str | None = None,
) -> Joined:
    """Write logged rows with their labels as raw rows, by time: Parquet or CSV by the name of `output`.

    Rows without a label get `unlabelled` as the label, or are left out. `since` and `until` are days (UTC).
    `keep` names columns of `META` to write; with `time`, the time of the request is in a column of this name.

    Raises:
        ConfigError: `output` has no known ending, or `keep` an unknown column.
        DataError: there is no log of these days, or labels or log cannot be read.
    """
    if not output.name.endswith(ENDINGS):
        raise ConfigError(f"--output {output}: the name must end with {' or '.join(ENDINGS)}")
    if unknown := [name for name in keep if name not in META]:
        raise ConfigError(f"--keep {unknown[0]}: must be one of {', '.join(META)}")
    found = Labels.read(labels)
    parts = list(_parts(log, since, until))
    if not parts:
        raise DataError(f"{log}: has no log of these days; give the folder of `serve --log-to`")
    logged, used, joined = 0, np.zeros(len(found.key), dtype=bool), list[pa.Table]()
    with progress("join", None) as advance:
        for rows in _chunks(parts):
            logged += len(rows)
            key = _keys(rows[f"{PREFIX}request_id"], rows[f"{PREFIX}row"]).combine_chunks()
            place = pc.index_in(key, value_set=found.key)
            used[place.drop_null().to_numpy()] = True
            table = _labelled(rows, found.columns.take(place), place.is_valid(), unlabelled)
            joined.append(_raw(table, keep, time))
            advance(len(rows))
    table = _one_type(joined)
    _write(table, output)
    return Joined(logged, len(table), int((~used).sum()))


def _parts(log: Place, since: date | None, until: date | None) -> Iterator[Place]:
    for day in sorted(storage.folders(log)):
        try:
            its = date.fromisoformat(day)
        except ValueError:
            continue
        if (since is None or its >= since) and (until is None or its <= until):
            yield from (log / day / name for name in storage.files(log / day) if name.endswith(".parquet"))


def _chunks(parts: Sequence[Place]) -> Iterator[pa.Table]:
    """Parts with equal columns together, in bounded size."""
    waiting: list[pa.Table] = []
    for part in parts:
        rows = read_table(part)
        if waiting and (rows.schema != waiting[0].schema or sum(map(len, waiting)) >= CHUNK):
            yield pa.concat_tables(waiting)
            waiting = []
        waiting.append(rows)
    yield pa.concat_tables(waiting)


def _labelled(rows: pa.Table, labels: pa.Table, found: pa.BooleanArray, unlabelled: str | None) -> pa.Table:
    first = True
    for name, values in zip(labels.column_names, labels.columns, strict=True):
        if unlabelled is not None and first:
            try:
                default = pa.scalar(unlabelled).cast(values.type)
            except pa.ArrowInvalid:
                raise ConfigError(f"--unlabelled {unlabelled}: is no {values.type}, as {name} is") from None
            values = pc.if_else(found, values, default)
        rows, first = rows.append_column(name, values), False
    return rows if unlabelled is not None else rows.filter(found)


def _raw(rows: pa.Table, keep: Sequence[str], time: str | None) -> pa.Table:
    """The raw columns and labels, ordered by time, and the columns that are kept."""
    rows = rows.sort_by([(f"{PREFIX}{name}", "ascending") for name in ("time", "request_id", "row")])
    names = [name for name in rows.column_names if not name.startswith(PREFIX)]
    table = rows.select(names)
    extra = [(name, name) for name in keep] + ([("time", time)] if time else [])
    for name, called in extra:
        if called in table.column_names:
            raise ConfigError(f"{called}: the rows have a column of this name; it cannot be added")
        table = table.append_column(called, rows[f"{PREFIX}{name}"])
    return table


def _one_type(tables: Sequence[pa.Table]) -> pa.Table:
    """One table; a column that has several types becomes text."""
    names = list(dict.fromkeys(name for table in tables for name in table.column_names))
    for name in names:
        if len({table.schema.field(name).type for table in tables if name in table.column_names}) > 1:
            tables = [_as_text(table, name) if name in table.column_names else table for table in tables]
    return pa.concat_tables(tables, promote_options="default")


def _as_text(table: pa.Table, name: str) -> pa.Table:
    column = table[name].combine_chunks()
    text = plain(tokens(column, pa.array([], pa.string())))
    return table.set_column(table.column_names.index(name), name, text)


def _write(table: pa.Table, output: Path) -> None:
    with storage.locked_output(output), storage.atomic_file(output) as temporary:
        if output.name.endswith(".parquet"):
            pq.write_table(table, temporary, compression="zstd")
        else:
            csv.write_csv(table, temporary)


def _keys(request: pa.ChunkedArray, row: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(request.cast(pa.string()), row.cast(pa.string()), "\0")
