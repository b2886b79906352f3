"""The file of predictions: Parquet or CSV, by its name."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from ctrloom import storage
from ctrloom.config.base import ConfigError
from ctrloom.data.parquet.writer import sealed_writer

COLUMNS = pa.schema([("row", pa.int64()), ("probability", pa.float32()), ("malformed", pa.string())])


@contextmanager
def _parquet(output: Path) -> Iterator[pq.ParquetWriter]:
    with sealed_writer(output, COLUMNS, compression="zstd") as (writer, _):
        yield writer


@contextmanager
def _csv(output: Path) -> Iterator[csv.CSVWriter]:
    with storage.writing(output) as file, csv.CSVWriter(file.sink, COLUMNS) as writer:
        yield writer


@contextmanager
def _zipped_csv(output: Path) -> Iterator[csv.CSVWriter]:
    with (
        storage.writing(output) as file,
        gzip.open(file.sink, "wb", compresslevel=6) as zipped,
        csv.CSVWriter(zipped, COLUMNS) as writer,
    ):
        yield writer


FORMATS = {".parquet": _parquet, ".csv": _csv, ".csv.gz": _zipped_csv}


def require_format(output: Path) -> None:
    """Check that the name of a file of predictions says what its format is.

    Raises:
        ConfigError: it ends differently, and is not a device, a FIFO or an open file.
    """
    _format(output)


@contextmanager
def writing(output: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that writes rows of `COLUMNS`; the file is written atomically.

    A device, a FIFO or an open file such as /dev/stdout gets CSV, unless its name is that of another format.

    Raises:
        ConfigError: the name has no known ending.
        StorageError: it cannot be written.
    """
    kind = _format(output)
    with storage.atomic_file(output) as temporary, kind(temporary) as writer:
        yield writer.write_table


def _format(output: Path) -> Callable[[Path], Any]:
    name = output.name.lower()
    if found := next((kind for ending, kind in FORMATS.items() if name.endswith(ending)), None):
        return found
    if storage.is_stream(output):
        return _csv
    raise ConfigError(f"--output {output}: the name must end with {', '.join(FORMATS)}")
