"""Logged traffic of a server with labels that came later: raw rows for drift, the gate and training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom import storage
from ctrloom.config.base import ConfigError
from ctrloom.data.arrow.dictionary import plain
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.tokens import tokens
from ctrloom.data.parquet.reader import read_table
from ctrloom.progress import progress
from ctrloom.serving import prediction_file
from ctrloom.serving.labels import Labels, keys
from ctrloom.storage import Place

PREFIX = "ctrloom."  # of the columns that are not raw ones
META = {
    "request_id": pa.string(),
    "row": pa.int32(),
    "time": pa.timestamp("us", "UTC"),
    "model_version": pa.string(),
    "probability": pa.float32(),
    "malformed": pa.string(),
}
ORDER = [f"{PREFIX}{name}" for name in ("time", "request_id", "row")]
CHUNK = 500_000  # rows that are joined at once
FORMATS = "parquet", "csv"


@dataclass(frozen=True)
class Joined:
    """Rows of the log, those that have a label, labels without a row, and labels of several rows."""

    logged: int
    written: int
    unused_labels: int
    repeated_labels: int


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

    Rows without a label get `unlabelled` as the label, or are left out. All rows of one id and number get its
    label. `since` and `until` are days (UTC). `keep` names columns of `META` to write; with `time`, the time
    of the request is in a column of this name.

    Raises:
        ConfigError: `output` has no known ending, or `keep` an unknown column.
        DataError: there is no log of these days, or labels or log cannot be read.
    """
    format = output.suffix.removeprefix(".")
    if format not in FORMATS:
        raise ConfigError(f"--output {output}: the name must end with .parquet or .csv")
    if unknown := [name for name in keep if name not in META]:
        raise ConfigError(f"--keep {unknown[0]}: must be one of {', '.join(META)}")
    found = Labels.read(labels)
    parts = list(_parts(log, since, until))
    if not parts:
        raise DataError(f"{log}: has no log of these days; give the folder of `serve --log-to`")
    logged, used, joined = 0, np.zeros(len(found.key), dtype=np.int64), list[pa.Table]()
    with progress("join", None) as advance:
        for rows in _chunks(parts):
            logged += len(rows)
            key = keys(rows[f"{PREFIX}request_id"], rows[f"{PREFIX}row"])
            place = pc.index_in(key, value_set=found.key)
            used += np.bincount(place.drop_null().to_numpy(), minlength=len(used))
            table = _labelled(rows, found, place, unlabelled)
            joined.append(_raw(table, keep, time))
            advance(len(rows))
    table = _one_type(joined).sort_by([(name, "ascending") for name in ORDER]).drop_columns(ORDER)
    with storage.locked_output(output), prediction_file.writing(output, format, table.schema) as write:
        write(table)
    return Joined(logged, len(table), int((used == 0).sum()), int((used > 1).sum()))


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
        rows = _logged(part)
        if waiting and (rows.schema != waiting[0].schema or sum(map(len, waiting)) >= CHUNK):
            yield pa.concat_tables(waiting)
            waiting = []
        waiting.append(rows)
    yield pa.concat_tables(waiting)


def _logged(part: Place) -> pa.Table:
    rows = read_table(part)
    types = dict(zip(rows.column_names, rows.schema.types, strict=True))
    if wrong := [name for name, type in META.items() if types.get(f"{PREFIX}{name}") != type]:
        raise DataError(
            f"{part}: is no part of a traffic log: it has no column '{PREFIX}{wrong[0]}' of type "
            f"{META[wrong[0]]}; move it out of the folder"
        )
    return rows


def _labelled(rows: pa.Table, labels: Labels, place: pa.Int32Array, unlabelled: str | None) -> pa.Table:
    for name, values in zip(labels.columns.column_names, labels.columns.take(place).columns, strict=True):
        if name in rows.column_names:
            raise DataError(
                f"{labels.file}: has the column {name!r}, as logged rows have; rename it or leave it out"
            )
        rows = rows.append_column(name, values)
    if unlabelled is None:
        return rows.filter(place.is_valid())
    label = labels.columns.column_names[0]
    default = _default(label, labels.columns[label], unlabelled)
    values = pc.if_else(place.is_valid(), rows[label], default)
    return rows.set_column(rows.column_names.index(label), label, values)


def _default(label: str, given: pa.ChunkedArray, unlabelled: str) -> pa.Scalar:
    """The label of rows without one: of the type of the others, and a number if all of them are."""
    is_number = pa.types.is_string(given.type) and _are_numbers(given)
    kind = pa.float64() if is_number else given.type
    try:
        number = pa.scalar(unlabelled).cast(kind)
    except pa.ArrowException:
        raise ConfigError(
            f"--unlabelled {unlabelled}: must be {'a number' if is_number else kind}, as {label} is"
        ) from None
    return pa.scalar(unlabelled) if is_number else number


def _are_numbers(values: pa.ChunkedArray) -> bool:
    try:
        values.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _raw(rows: pa.Table, keep: Sequence[str], time: str | None) -> pa.Table:
    """The raw columns and labels, the columns that are kept, and those that order the rows."""
    names = [name for name in rows.column_names if not name.startswith(PREFIX)]
    table = rows.select([*names, *ORDER])
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
