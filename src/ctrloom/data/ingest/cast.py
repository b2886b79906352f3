"""Casts raw rows to typed rows, for ingest and for prediction."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, Self
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from ctrloom.config import Column, Label, Multivalued, Numeric, SourceConfig, Timestamp, Weight
from ctrloom.config.base import ConfigError
from ctrloom.config.timestamp import TimestampPart
from ctrloom.data.arrow.dictionary import dictionary_encode, plain, plain_rows, take_encoded
from ctrloom.data.arrow.take import taken
from ctrloom.data.errors import DataError
from ctrloom.data.ingest import converters, timestamps
from ctrloom.data.ingest.converters import Fault
from ctrloom.data.ingest.label_rules import Rule, label_of
from ctrloom.data.ingest.number_format import plain_numbers
from ctrloom.data.ingest.token_lists import token_lists
from ctrloom.data.ingest.tokens import tokens
from ctrloom.data.manifest import CountedKind
from ctrloom.data.sources import read_raw
from ctrloom.data.sources.mixed import MixedColumn
from ctrloom.data.sources.raw import Malformed, RawBatch, python_value
from ctrloom.data.threads import map_in_threads

LONGEST_NAME = 200  # of a field in a URL; it is part of the names of files
_Converted = tuple[dict[str, pa.Array], list[Fault]]
_OF_ANOTHER_TYPE = pa.ArrowInvalid, pa.ArrowNotImplementedError
_ARROW = {"categorical": pa.string(), "numeric": pa.float64(), "multivalued": pa.list_(pa.string())}


class RawField(NamedTuple):
    """A field before encoding: a column, or a part of a timestamp column."""

    name: str
    kind: Literal["categorical", "numeric", "multivalued"]
    column: str
    derived: TimestampPart | None = None


@dataclass(frozen=True)
class TypedBatch:
    """Clean rows, and the rows that were dropped or malformed.

    Row numbers count from the first row read. Rows, malformed and dropped rows together number `rows`.
    """

    dictionary_rows: (
        pa.RecordBatch
    )  # tokens and numbers dictionary-encoded; numbers may be repeated in a dictionary
    positions: np.ndarray  # int64
    malformed: list[Malformed]
    rows: int
    dropped: int
    stored_bytes: int
    file: str
    notes: tuple[str, ...]  # about the file, for the user
    kept: pa.RecordBatch | None = None  # columns to pass through, with all `rows`

    @cached_property
    def table(self) -> pa.RecordBatch:
        """The rows in `typed_schema`."""
        return plain_rows(self.dictionary_rows)

    def after(self, first: int) -> Self:
        """The batch with `first` added to its row numbers."""
        malformed = [replace(row, position=row.position + first) for row in self.malformed]
        return replace(self, positions=self.positions + first, malformed=malformed)


def raw_fields(source: SourceConfig) -> list[RawField]:
    """Fields of a source in column order.

    Raises:
        ConfigError: duplicate or long names, or a column is named like a stored label, weight or timestamp.
    """
    fields: list[RawField] = []
    for name, column in source.columns.items():
        if isinstance(column, Timestamp):
            fields += [RawField(f"{name}_{part}", "categorical", name, part) for part in column.derive]
        elif column.kind in ("categorical", "numeric", "multivalued"):
            fields.append(RawField(name, column.kind, name))
    taken = {kind for kind in ("label", "weight", "timestamp") if source.named(kind)}
    for name in (*(field.name for field in fields), *source.named("context")):
        if name in taken:
            raise ConfigError(f"data.columns: duplicate or reserved field {name!r}; rename the column")
        taken.add(name)
    for name in (field.name for field in fields):
        if len(quote(name, safe="")) > LONGEST_NAME:
            raise ConfigError(
                f"data.columns: the name {name[:40]!r}... is too long for a file; rename the column. "
                f"{LONGEST_NAME} ASCII letters are allowed; other characters count three times per byte"
            )
    return fields


def counted_fields(source: SourceConfig) -> list[tuple[str, CountedKind]]:
    """Columns whose values are counted: the fields, and the weight if there is one."""
    fields: list[tuple[str, CountedKind]] = [
        (field.name, "numbers" if field.kind == "numeric" else "tokens") for field in raw_fields(source)
    ]
    return fields + [("weight", "numbers") for _ in source.named("weight")]


def typed_schema(source: SourceConfig, with_label: bool = True) -> pa.Schema:
    """Arrow schema of typed rows: fields, `label`, and, if they exist, `weight`, `timestamp` and context."""
    columns = [pa.field(field.name, _ARROW[field.kind]) for field in raw_fields(source)]
    if with_label:
        columns.append(pa.field("label", pa.int8()))
        columns += [pa.field("weight", pa.float32())] if source.named("weight") else []
        columns += [pa.field("timestamp", pa.int64())] if source.named("timestamp") else []
        columns += [pa.field(name, pa.string()) for name in source.named("context")]
    return pa.schema(columns)


def check_rules(source: SourceConfig) -> None:
    """Raise ConfigError for an invalid label rule, field name or time zone, before any file is read."""
    raw_fields(source)
    for name in source.named("timestamp"):
        timestamps.require_zone(f"data.columns.{name}.timezone", source.timezone)
    (name,) = source.named("label")
    label = source.columns[name]
    assert isinstance(label, Label)
    for rule in (label.positive, label.drop):
        if rule is not None:
            Rule.parse(rule, name)


def read_rows(
    source: SourceConfig, files: Iterable[str], with_label: bool = True, keep: Sequence[str] = ()
) -> Generator[TypedBatch]:
    """Typed rows of files and URLs in order, streamed in batches.

    Without `with_label`, label and weight may be absent and no row is dropped. Notes that apply to several
    files are given once. `keep` are columns of the files to pass through as they are.

    Raises:
        DataError: a file is empty, cannot be read, or lacks a column.
    """
    check_rules(source)
    schema, first, noted = typed_schema(source, with_label), 0, set[str]()
    for path in files:
        pieces = read_raw(path, source, with_label, keep)
        for batch in map_in_threads(lambda piece: typed(piece(), source, schema), pieces):
            notes = tuple(note for note in batch.notes if note not in noted)
            noted.update(notes)
            yield replace(batch.after(first), notes=notes)
            first += batch.rows


def typed(raw: RawBatch, source: SourceConfig, schema: pa.Schema) -> TypedBatch:
    """Raw rows as typed rows with the columns of `schema` (see `typed_schema`).

    Raises:
        DataError: a column has values of a type that cannot be its kind.
    """
    missing = pa.array(source.missing_values, pa.string())
    columns: dict[str, pa.Array] = {}
    faults: list[Fault] = []
    dropped = np.zeros(len(raw.positions), dtype=bool)
    for name, values in raw.columns.items():
        try:
            converted, found, drop = _converted(name, source.columns[name], values, missing)
        except _OF_ANOTHER_TYPE:
            raise DataError(f"{raw.file}: {name} {_unfit(values, source.columns[name])}") from None
        columns |= converted
        dropped = dropped if drop is None else drop
        faults += found
    table = pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema.names)
    bad = _rows_with(faults, dropped)
    keep = ~dropped
    keep[bad] = False
    if not keep.all():
        table = table.filter(pa.array(keep))
    malformed = raw.malformed + [_reject(raw, faults, int(i)) for i in bad]
    return TypedBatch(
        dictionary_rows=table,
        positions=raw.positions[keep],
        malformed=sorted(malformed, key=lambda row: row.position),
        rows=len(raw.lines),
        dropped=int(dropped.sum()),
        stored_bytes=raw.stored_bytes,
        file=raw.file,
        notes=tuple(raw.notes),
        kept=raw.kept,
    )


def cast_column(
    name: str, values: pa.Array | MixedColumn, source: SourceConfig
) -> dict[str, pa.Array] | None:
    """Typed columns of one raw column; None if one of its values is malformed."""
    missing = pa.array(source.missing_values, pa.string())
    made, faults, _ = _converted(name, source.columns[name], values, missing)
    return None if faults else {n: plain(column) for n, column in made.items()}


def _converted(
    name: str, column: Column, values: pa.Array | MixedColumn, missing: pa.Array
) -> tuple[dict[str, pa.Array], list[Fault], np.ndarray | None]:
    """Typed columns of one raw column, its malformed rows, and the rows to drop."""
    if isinstance(values, MixedColumn):
        made, faults = _converted_mixed(name, column, values, missing)
        return made, faults, None
    if not pa.types.is_dictionary(values.type):
        made, faults, dropped = _converted_values(name, column, values, missing)
        return {n: dictionary_encode(v) for n, v in made.items()}, faults, dropped
    made, faults, dropped = _converted_values(name, column, values.dictionary, missing)
    at = values.indices.to_numpy()
    faults = [fault._replace(rows=fault.rows[at]) for fault in faults]
    return (
        {n: take_encoded(v, values.indices) for n, v in made.items()},
        faults,
        dropped if dropped is None else dropped[at],
    )


def _converted_values(
    name: str, column: Column, values: pa.Array, missing: pa.Array
) -> tuple[dict[str, pa.Array], list[Fault], np.ndarray | None]:
    """Like `_converted`, for a column without a dictionary."""
    if isinstance(column, Label):
        labels, faults, dropped = label_of(name, column, values, missing)
        return {"label": labels}, faults, dropped
    if isinstance(column, Timestamp):
        instants, faults = timestamps.seconds(name, values, column, missing)
        parts = {
            f"{name}_{part}": dictionary_encode(timestamps.part_of(instants, part, column.timezone))
            for part in column.derive
        }
        return {"timestamp": instants, **parts}, faults, None
    if isinstance(column, Weight):
        weights, faults = converters.weights(name, values, missing)
        return {"weight": weights}, faults, None
    if isinstance(column, Numeric):
        numbers, faults = converters.numbers(name, plain_numbers(values, column, missing), missing)
        return {name: numbers}, faults, None
    if isinstance(column, Multivalued):
        lists, faults = token_lists(name, values, column, missing)
        return {name: lists}, faults, None
    return {name: tokens(values, missing)}, [], None


def _converted_mixed(
    name: str, column: Column, values: MixedColumn, missing: pa.Array
) -> tuple[dict[str, pa.Array], list[Fault]]:
    """Like `_converted`, type by type; a value of a type that cannot be this kind is malformed."""
    made, faults = _joined([_tolerant(name, column, array, missing) for array in values.arrays])
    at = values.place_N
    return (
        {n: dictionary_encode(taken(v, pa.array(at))) for n, v in made.items()},
        [fault._replace(rows=fault.rows[at]) for fault in faults],
    )


def _tolerant(name: str, column: Column, values: pa.Array, missing: pa.Array) -> _Converted:
    try:
        made, faults, _ = _converted_values(name, column, values, missing)
    except _OF_ANOTHER_TYPE:
        if len(values) > 1:
            return _joined(
                [_tolerant(name, column, values[at : at + 1], missing) for at in range(len(values))]
            )
        made, _, _ = _converted_values(name, column, pa.nulls(1, pa.string()), missing)
        faults = [Fault(name, np.ones(1, dtype=bool), _unfit(values, column))]
    return {n: plain(v) for n, v in made.items()}, faults


def _joined(parts: Sequence[_Converted]) -> _Converted:
    """Consecutive pieces of a column as one."""
    made = {n: pa.concat_arrays([columns[n] for columns, _ in parts]) for n in parts[0][0]}
    sizes = [len(next(iter(columns.values()))) for columns, _ in parts]
    faults, start = list[Fault](), 0
    for (_, found), size in zip(parts, sizes, strict=True):
        for fault in found:
            rows = np.zeros(sum(sizes), dtype=bool)
            rows[start : start + size] = fault.rows
            faults.append(fault._replace(rows=rows))
        start += size
    return made, faults


def _unfit(values: pa.Array, column: Column) -> str:
    return f"holds {values.type}, which cannot be {column.kind}"


def _rows_with(faults: list[Fault], dropped: np.ndarray) -> np.ndarray:
    faulty = np.logical_or.reduce([fault.rows for fault in faults], axis=0) if faults else False
    return np.flatnonzero(faulty & ~dropped)


def _reject(raw: RawBatch, faults: list[Fault], row: int) -> Malformed:
    first = next(fault for fault in faults if fault.rows[row])
    value = repr(python_value(raw.columns[first.column][row]))
    return raw.reject(int(raw.positions[row]), f"{first.column} {first.what}", value)
