"""A source file that rows are read from."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ctrloom.config import SourceConfig
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import TypedBatch, read_rows
from ctrloom.data.manifest import SourceFile

State = tuple[int, int, int]


@dataclass(frozen=True)
class Input:
    """A source file, and its local path."""

    record: SourceFile
    local: str
    state: State  # of the local file when it was hashed
    begun: Iterable[TypedBatch] | None = None  # its rows, if reading has already started

    def rows(self, source: SourceConfig) -> Iterator[TypedBatch]:
        """Typed rows of the file.

        Raises:
            DataError: it is empty, cannot be read, or lacks a column.
        """
        with self.named():
            yield from read_rows(source, [self.local])

    @contextmanager
    def named(self) -> Iterator[None]:
        """Errors in the block name the file, not its local copy."""
        try:
            yield
        except DataError as error:
            raise DataError(str(error).replace(self.local, self.record.path)) from error

    def require_unchanged(self) -> None:
        """Raise DataError if the file changed since it was hashed."""
        if state_of(self.local) != self.state:
            raise DataError(
                f"{self.record.path}: was changed while it was being read, so its rows are not those of one "
                "file; run the command again when it is complete"
            )


def state_of(path: str) -> State:
    """Size, time of the last change and number of a local file."""
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
