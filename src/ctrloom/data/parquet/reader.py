"""Reads Parquet parts by row groups, locally or in an object store; checksums are verified."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ctrloom.config.errors import UserError
from ctrloom.data.errors import DamagedDataError
from ctrloom.data.parquet import writer
from ctrloom.data.parquet.verified import AGAIN, Verified
from ctrloom.storage import Location, Place, one_line


class PartReader:
    """A part that is opened once and can be read repeatedly, also by several threads.

    Raises:
        StorageError: an object cannot be read, or fails its checksum.
        DamagedDataError: a file cannot be read, or is corrupt.
    """

    def __init__(self, path: Place) -> None:
        self.path = path
        with _explained(path):
            self.known = Verified(path)
        self.footer = self.known.footer

    @property
    def spans(self) -> list[range]:
        """The rows of each row group."""
        return list(group_spans(self.footer))

    def rows(
        self,
        span: range | None = None,
        dictionaries: Sequence[str] = (),
        columns: list[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Rows of the part, or a span of them, about one row group at a time.

        The columns `dictionaries` are dictionary-encoded per batch, if they are stored so.

        Raises:
            StorageError: an object cannot be read, or fails its checksum.
            DamagedDataError: a file cannot be read, or is corrupt.
        """
        remote = isinstance(self.path, Location)
        ahead: dict[str, Any] = {"pre_buffer": True} if remote else {"buffer_size": 1 << 20}
        ahead |= {"page_checksum_verification": not self.known.sums}
        ahead |= {"read_dictionary": self._by_dictionary.intersection(dictionaries), "metadata": self.footer}
        # A row group that `PartWriter` wrote is shorter than twice that.
        rows = (2 if dictionaries else 1) * writer.GROUP_ROWS
        with (
            _explained(self.path),
            pq.ParquetFile(self.known.opened(), **ahead) as file,
        ):
            for batch in read_groups(file, rows, columns, span):
                yield batch.replace_schema_metadata()  # checksums

    @cached_property
    def _by_dictionary(self) -> frozenset[str]:
        """Columns that are stored with dictionaries; none in a file that was not sealed.

        PyArrow ends the process if the schema in a damaged footer contradicts its columns.
        """
        if not self.footer.num_row_groups or not self.known.seal:
            return frozenset()
        group = self.footer.row_group(0)
        columns = map(group.column, range(group.num_columns))
        return frozenset(column.path_in_schema for column in columns if column.has_dictionary_page)


def read_parts(paths: Iterable[Place], columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Rows of Parquet parts in order, about one row group at a time.

    Raises:
        StorageError: an object cannot be read, or fails its checksum.
        DamagedDataError: a file cannot be read, or is corrupt.
    """
    for path in paths:
        yield from PartReader(path).rows(columns=columns)


def read_table(path: Place, columns: list[str] | None = None) -> pa.Table:
    """One Parquet file, or some of its columns.

    Raises:
        StorageError: the file cannot be read, or fails its checksum.
        DamagedDataError: the file cannot be read, or is corrupt.
    """
    with _explained(path):
        known = Verified(path)
        return pq.read_table(known.opened(), columns=columns, page_checksum_verification=not known.sums)


def read_groups(
    file: pq.ParquetFile, rows: int, columns: list[str] | None = None, span: range | None = None
) -> Iterator[pa.RecordBatch]:
    """Batches of at most `rows` rows of one Parquet file, or of a span of its rows."""
    for group, here in _groups(file.metadata, span):
        # One call for all groups would keep the data of earlier groups in memory.
        batches = file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)
        yield from _within(batches, here)


def group_spans(footer: pq.FileMetaData) -> Iterator[range]:
    """The rows of each row group."""
    start = 0
    for group in range(footer.num_row_groups):
        yield range(start, start + footer.row_group(group).num_rows)
        start += footer.row_group(group).num_rows


def _groups(footer: pq.FileMetaData, span: range | None) -> Iterator[tuple[int, range]]:
    """Row groups that overlap the span, and the overlapping rows."""
    span = range(footer.num_rows) if span is None else span
    for group, rows in enumerate(group_spans(footer)):
        if here := range(max(span.start - rows.start, 0), min(span.stop - rows.start, len(rows))):
            yield group, here


def _within(batches: Iterable[pa.RecordBatch], span: range) -> Iterator[pa.RecordBatch]:
    """A span of the concatenated rows of the batches."""
    start = 0
    for batch in batches:
        if here := range(max(span.start - start, 0), min(span.stop - start, len(batch))):
            yield batch.slice(here.start, len(here))
        start += len(batch)
        if start >= span.stop:
            return


@contextmanager
def _explained(path: Place) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DamagedDataError(f"{path}: cannot be read: {one_line(error)}; {AGAIN}") from error
