"""Files of predictions: Parquet or CSV, local, in an object store, or on standard output."""

import gzip
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from ctrloom import storage
from ctrloom.config.base import ConfigError
from ctrloom.data.parquet.writer import sealed_writer
from ctrloom.storage import Location, Place

COLUMNS = pa.schema([("row", pa.int64()), ("probability", pa.float32()), ("malformed", pa.string())])
STANDARD_OUTPUT = "-"


@contextmanager
def _parquet(output: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    with sealed_writer(output, schema, compression="zstd") as (writer, _):
        yield writer


@contextmanager
def _csv(output: Path, schema: pa.Schema) -> Iterator[csv.CSVWriter]:
    with storage.writing(output) as file, csv.CSVWriter(file.sink, _csv_schema(schema)) as writer:
        yield writer


@contextmanager
def _zipped_csv(output: Path, schema: pa.Schema) -> Iterator[csv.CSVWriter]:
    with (
        storage.writing(output) as file,
        gzip.open(file.sink, "wb", compresslevel=6) as zipped,
        csv.CSVWriter(zipped, _csv_schema(schema)) as writer,
    ):
        yield writer


FORMATS = {"parquet": _parquet, "csv": _csv, "csv.gz": _zipped_csv}
_ENDINGS = ", ".join(f".{name}" for name in FORMATS)


@dataclass(frozen=True)
class Output:
    """Where predictions are written: one file, a folder with a file per input, or standard output (None)."""

    at: Place | None
    format: str
    is_folder: bool = False

    @classmethod
    def parse(cls, output: str | Place, format: str | None = None) -> "Output":
        """The output of a path or URL; see `predict`.

        Raises:
            ConfigError: the name has no known ending, or one of another format.
            StorageError: it is a URL of another kind.
        """
        if format is not None and format not in FORMATS:
            raise ConfigError(f"--format {format}: there is no such format; choose from {', '.join(FORMATS)}")
        given = str(output)
        if given == STANDARD_OUTPUT:
            found = cls(None, "csv")
        elif given.endswith("/") or (isinstance(at := storage.place(output), Path) and at.is_dir()):
            return cls(storage.place(output), format or "parquet", is_folder=True)
        else:
            found = cls(at, _format_of(at))
        if format not in (None, found.format):
            raise ConfigError(f"--format {format}: --output {output} is {found.format}; leave --format out")
        return found


def _format_of(at: Place) -> str:
    """The format that the name of a file says; CSV for a device, a FIFO or an open file with another name."""
    name = at.name.lower()
    if found := next((format for format in FORMATS if name.endswith(f".{format}")), None):
        return found
    if isinstance(at, Path) and storage.is_stream(at):
        return "csv"
    raise ConfigError(
        f"--output {at}: the name must end with {_ENDINGS}, or with / for a folder with one file per input"
    )


def require_free(keep: Sequence[str]) -> None:
    """Check that the columns to keep can be next to those of the scores.

    Raises:
        ConfigError: one has the name of another.
    """
    for at, name in enumerate(keep):
        if name in COLUMNS.names:
            raise ConfigError(
                f"--keep {name}: predictions have a column of this name ({', '.join(COLUMNS.names)}); "
                "rename it in the files"
            )
        if name in keep[:at]:
            raise ConfigError(f"--keep {name}: is given twice")


@contextmanager
def writing(at: Place | None, format: str, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that writes rows of `schema` (`COLUMNS` and more); a file is written atomically.

    An object is written to a local temporary file first, and transferred as a whole.

    Raises:
        StorageError: it cannot be written.
        BrokenPipeError: the reader of standard output is gone.
    """
    kind, ready = FORMATS[format], _for_csv if format != "parquet" else lambda rows: rows
    if at is None:
        with csv.CSVWriter(_Passing(sys.stdout.buffer), _csv_schema(schema)) as writer:
            yield lambda rows: writer.write_table(ready(rows))
        sys.stdout.buffer.flush()
    elif isinstance(at, Location):
        with tempfile.TemporaryDirectory(prefix="ctrloom-") as folder:
            temporary = Path(folder) / at.name
            with kind(temporary, schema) as writer:
                yield lambda rows: writer.write_table(ready(rows))
            storage.put(temporary, at)
    else:
        with storage.atomic_file(at) as temporary, kind(temporary, schema) as writer:
            yield lambda rows: writer.write_table(ready(rows))


class _Passing:
    """Forwards bytes to standard output, which is neither closed nor sought."""

    closed = False

    def __init__(self, to: BinaryIO) -> None:
        self.to, self.gone = to, False

    def write(self, content: Any) -> int:
        if not self.gone:  # the writer flushes once more when it is closed
            try:
                self.to.write(bytes(content))
                self.to.flush()
            except BrokenPipeError:
                self.gone = True
                raise
        return len(content)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _csv_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(field.name, _csv_type(field.type)) for field in schema])


def _csv_type(type: pa.DataType) -> pa.DataType:
    """The type as which a column is written to CSV: text, for what has no other form there."""
    views = pa.types.is_string_view(type) or pa.types.is_binary_view(type)
    return pa.string() if pa.types.is_nested(type) or _is_binary(type) or views else type


def _is_binary(type: pa.DataType) -> bool:
    kinds = pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary
    return any(kind(type) for kind in (*kinds, pa.types.is_binary_view))


def _for_csv(rows: pa.Table) -> pa.Table:
    """Rows with the types of CSV: lists and structs as JSON, bytes as text."""
    return pa.table([_as_csv(column) for column in rows.columns], schema=_csv_schema(rows.schema))


def _as_csv(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    to = _csv_type(column.type)
    if to == column.type:
        return column
    if not pa.types.is_nested(column.type) and not _is_binary(column.type):
        return column.cast(to)
    return pa.array([None if value is None else _text(value) for value in column.to_pylist()], to)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return json.dumps(value, ensure_ascii=False, default=str)
