"""DuckDB in this process with bounded memory, spilling to disk."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import duckdb
import ibis
import pyarrow as pa
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

from ctrloom import storage
from ctrloom.data import threads
from ctrloom.data.engines.engine import Kept
from ctrloom.data.errors import DataError
from ctrloom.data.parquet import verified
from ctrloom.data.parquet.reader import read_parts
from ctrloom.storage import Location, Place

MEBIBYTES = 128  # per thread


class Embedded:
    """A connection with bounded memory, and its spill directory."""

    def __init__(self, backend: Backend, spill: Path) -> None:
        self.backend, self.spill = backend, spill

    def rows(self, files: Iterable[Place]) -> Table:
        """Parquet files as one table; only the columns that an expression uses are read, and verified."""
        name = f"files_{uuid4().hex}"
        self.backend.con.register(name, verified.dataset(list(files)))
        return self.backend.table(name)

    @contextmanager
    def kept(self, table: Table) -> Iterator[Kept]:
        """The rows of an expression, materialised in a Parquet file."""
        handle, name = tempfile.mkstemp(suffix=".parquet", dir=self.spill)
        os.close(handle)
        try:
            self.backend.to_parquet(table, name)
            yield Kept(self.rows([Path(name)]), lambda: read_parts([Path(name)]))
        finally:
            os.unlink(name)


@contextmanager
def embedded(folder: Place) -> Iterator[Embedded]:
    """A connection that spills to `folder`, or to the temporary directory if `folder` is a URL.

    Raises:
        StorageError: an object cannot be read.
        DataError: a file cannot be read or written, for example because the disk is full.
    """
    with storage.scratch_directory("spill", storage.scratch(folder)) as spill:
        few = max(2, threads.count())
        memory = f"{few * MEBIBYTES}MiB"
        backend = ibis.duckdb.connect(memory_limit=memory, temp_directory=spill, threads=few)
        try:
            yield Embedded(backend, spill)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if isinstance(folder, Location):
                raise storage.explained(error, folder, "read") from error
            full = isinstance(error, duckdb.OutOfMemoryException) and "temp" in str(error)
            if isinstance(error, duckdb.IOException) or full:  # usually a full disk
                said = str(error).splitlines()[0][:300]
                raise DataError(f"{folder}: DuckDB failed: {said}; check the free disk space") from error
            raise
        finally:
            backend.disconnect()
