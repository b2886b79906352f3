"""The engine that counts: Ibis expressions on DuckDB, spilling to disk when memory ends."""

import glob
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ibis
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

MEMORY_LIMIT = "256MiB"
THREADS = 2  # each takes its share of the memory


@contextmanager
def engine(folder: Path) -> Iterator[tuple[Backend, Path]]:
    """A connection whose memory is bounded, and the temporary directory within `folder` that it spills to."""
    with tempfile.TemporaryDirectory(prefix=".spill.", dir=folder) as spill:
        backend = ibis.duckdb.connect(memory_limit=MEMORY_LIMIT, temp_directory=spill, threads=THREADS)
        try:
            yield backend, Path(spill)
        finally:
            backend.disconnect()


def parquet(backend: Backend, files: Iterable[Path]) -> Table:
    """Parquet files as one table; names are taken as they are, not as globs or partitions."""
    return backend.read_parquet([glob.escape(str(file)) for file in files], hive_partitioning=False)


def kept(backend: Backend, table: Table, folder: Path) -> tuple[Table, Path]:
    """The rows of an expression, worked out once and kept in a Parquet file of `folder`."""
    handle, name = tempfile.mkstemp(suffix=".parquet", dir=folder)
    os.close(handle)
    backend.to_parquet(table, name)
    return parquet(backend, [Path(name)]), Path(name)
