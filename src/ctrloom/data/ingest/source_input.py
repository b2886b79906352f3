"""A source file that rows are read from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ctrloom.config import SourceConfig
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import TypedBatch, read_rows
from ctrloom.data.manifest import SourceFile


@dataclass(frozen=True)
class Input:
    """A source file, and its local path."""

    record: SourceFile
    local: str
    begun: Iterable[TypedBatch] | None = None  # its rows, if reading has already started

    def rows(self, source: SourceConfig) -> Iterator[TypedBatch]:
        """Typed rows of the file.

        Raises:
            DataError: it is empty, cannot be read, or lacks a column.
        """
        try:
            yield from read_rows(source, [self.local])
        except DataError as error:
            raise DataError(str(error).replace(self.local, self.record.path)) from error
