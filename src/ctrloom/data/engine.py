"""The engine that counts: Ibis expressions on DuckDB, spilling to disk when memory ends."""

import glob
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import duckdb
import ibis
import pyarrow as pa
import pyarrow.dataset as dataset
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

from ctrloom import storage
from ctrloom.storage import Location, Place

MEMORY_LIMIT = "256MiB"
THREADS = 2  # each takes its share of the memory


@contextmanager
def engine(folder: Place) -> Iterator[tuple[Backend, Path]]:
    """A connection whose memory is bounded, and the temporary directory that it spills to.

    It is within `folder`, or where this machine has such directories if that is in an object store.
    """
    with tempfile.TemporaryDirectory(prefix=".spill.", dir=storage.scratch(folder)) as spill:
        backend = ibis.duckdb.connect(memory_limit=MEMORY_LIMIT, temp_directory=spill, threads=THREADS)
        try:
            yield backend, Path(spill)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if isinstance(folder, Location):
                raise storage.explained(error, folder, "read") from error
            raise
        finally:
            backend.disconnect()


def parquet(backend: Backend, files: Iterable[Place]) -> Table:
    """Parquet files as one table; names are taken as they are, not as globs or partitions.

    Of objects in a store only the columns that an expression asks for are read, in place.
    """
    files = list(files)
    remote = [file for file in files if isinstance(file, Location)]
    if not remote:
        return backend.read_parquet([glob.escape(str(file)) for file in files], hive_partitioning=False)
    pages = dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
    layout = dataset.ParquetFileFormat(default_fragment_scan_options=pages)
    system, paths = storage.filesystem(remote[0]), [file.path for file in remote]
    rows = storage.patiently(remote[0], lambda: dataset.dataset(paths, filesystem=system, format=layout))
    name = f"objects_{uuid4().hex}"
    backend.con.register(name, rows)
    return backend.table(name)


def kept(backend: Backend, table: Table, folder: Path) -> tuple[Table, Path]:
    """The rows of an expression, worked out once and kept in a Parquet file of `folder`."""
    handle, name = tempfile.mkstemp(suffix=".parquet", dir=folder)
    os.close(handle)
    backend.to_parquet(table, name)
    return parquet(backend, [Path(name)]), Path(name)
