"""DuckDB in this process, spilling to disk when memory ends."""

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
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

from ctrloom import storage
from ctrloom.data import threads
from ctrloom.data.engines.engine import Kept
from ctrloom.data.errors import DataError
from ctrloom.data.parquet import checksums
from ctrloom.data.parquet.reader import read_parts
from ctrloom.storage import Location, Place

MEBIBYTES = 128  # for each thread


class Embedded:
    """A connection whose memory is bounded, and the temporary directory that it spills to."""

    def __init__(self, backend: Backend, spill: Path) -> None:
        self.backend, self.spill = backend, spill

    def rows(self, files: Iterable[Place]) -> Table:
        """Parquet files as one table; names are taken as they are, not as globs or partitions.

        Of objects in a store only the columns that an expression asks for are read, in place.
        """
        files = list(files)
        remote = [file for file in files if isinstance(file, Location)]
        if not remote:
            return self.backend.read_parquet(
                [glob.escape(str(file)) for file in files], hive_partitioning=False
            )
        name = f"objects_{uuid4().hex}"
        self.backend.con.register(name, checksums.dataset(remote))
        return self.backend.table(name)

    @contextmanager
    def kept(self, table: Table) -> Iterator[Kept]:
        """Rows of an expression in a Parquet file."""
        handle, name = tempfile.mkstemp(suffix=".parquet", dir=self.spill)
        os.close(handle)
        try:
            self.backend.to_parquet(table, name)
            yield Kept(self.rows([Path(name)]), lambda: read_parts([Path(name)]))
        finally:
            os.unlink(name)


@contextmanager
def embedded(folder: Place) -> Iterator[Embedded]:
    """A connection to spill within `folder`, or where this machine has temporary files if that is a URL.

    Raises:
        StorageError: an object cannot be read.
        DataError: a file cannot be read or written; the disk is full, say.
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
            if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException):  # a full disk, above all
                said = str(error).splitlines()[0][:300]
                raise DataError(f"{folder}: DuckDB stopped: {said}; is there room on the disk?") from error
            raise
        finally:
            backend.disconnect()
