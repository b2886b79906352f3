"""Parquet parts of bounded size, written as rows come."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ctrloom import storage
from ctrloom.data import verified
from ctrloom.data.errors import DataError
from ctrloom.data.manifest import PartFile
from ctrloom.storage import Location, Place, Written

GROUP_ROWS = 32_768  # rows per row group: what a reader holds at a time
PART_ROWS = 128 * GROUP_ROWS
_SPLIT = (pa.int32(), pa.float32())  # ids, factors: smaller and sooner written byte by byte than otherwise


def read_parts(paths: Iterable[Place], columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Rows of Parquet parts in order, a row group's worth at a time; checksums of pages are verified.

    Raises:
        StorageError: an object cannot be read, or arrives damaged.
    """
    for path in paths:
        yield from _part(path, columns)


def read_part(
    path: Place,
    span: range | None = None,
    dictionaries: Sequence[str] = (),
    columns: list[str] | None = None,
    footer: pq.FileMetaData | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows of one part, or a span of them, likewise; the columns `dictionaries` come with one for each batch.

    Whoever has the part's footer need not have it read again.

    Raises:
        StorageError: an object cannot be read, or arrives damaged.
        DataError: a file cannot be read, or is damaged.
    """
    with _explained(path):
        yield from _part(path, columns, span, dictionaries, footer)


def footer_of(path: Place) -> pq.FileMetaData:
    """What a Parquet file says of itself.

    Raises:
        StorageError: an object cannot be read, or arrives damaged.
        DataError: a file cannot be read, or is damaged.
    """
    with _explained(path):
        return pq.read_metadata(verified.opened(path) if isinstance(path, Location) else path)


@contextmanager
def _explained(path: Place) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read: {error}; make the data set again") from error


def read_groups(
    file: pq.ParquetFile, rows: int, columns: list[str] | None = None, span: range | None = None
) -> Iterator[pa.RecordBatch]:
    """Batches of at most `rows` rows of one Parquet file, or of a span of its rows."""
    for group, here in _groups(file.metadata, span):
        # One call for all groups would hold on to what it has read of earlier ones.
        batches = file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)
        yield from _within(batches, here)


def _part(
    path: Place,
    columns: list[str] | None,
    span: range | None = None,
    dictionaries: Sequence[str] = (),
    footer: pq.FileMetaData | None = None,
) -> Iterator[pa.RecordBatch]:
    source: Any = verified.opened(path) if isinstance(path, Location) else path
    ahead: dict[str, Any] = {"pre_buffer": True} if isinstance(path, Location) else {"buffer_size": 1 << 20}
    ahead |= {"read_dictionary": list(dictionaries), "metadata": footer}
    with pq.ParquetFile(source, page_checksum_verification=True, **ahead) as file:
        for batch in read_groups(file, GROUP_ROWS, columns, span):
            yield batch.replace_schema_metadata()  # checksums


def _groups(footer: pq.FileMetaData, span: range | None) -> Iterator[tuple[int, range]]:
    """Row groups that have rows of the span, and which."""
    span, start = range(footer.num_rows) if span is None else span, 0
    for group in range(footer.num_row_groups):
        rows = footer.row_group(group).num_rows
        if here := range(max(span.start - start, 0), min(span.stop - start, rows)):
            yield group, here
        start += rows


def _within(batches: Iterable[pa.RecordBatch], span: range) -> Iterator[pa.RecordBatch]:
    """Rows of a span of what the batches have together."""
    start = 0
    for batch in batches:
        if here := range(max(span.start - start, 0), min(span.stop - start, len(batch))):
            yield batch.slice(here.start, len(here))
        start += len(batch)


def null_counts(paths: Iterable[Place]) -> Counter[str]:
    """Rows without a value in each column of Parquet parts, as their footers have it.

    Raises:
        StorageError: an object cannot be read, or arrives damaged.
        DataError: a file cannot be read, or is damaged.
    """
    nulls: Counter[str] = Counter()
    for path in paths:
        footer = footer_of(path)
        groups = [footer.row_group(group) for group in range(footer.num_row_groups)]
        for column in (group.column(place) for group in groups for place in range(group.num_columns)):
            nulls[column.path_in_schema] += column.statistics.null_count
    return nulls


def read_table(path: Place, columns: list[str]) -> pa.Table:
    """Some columns of one Parquet file.

    Raises:
        StorageError: an object cannot be read, or arrives damaged.
    """
    source: Any = verified.opened(path) if isinstance(path, Location) else path
    return pq.read_table(source, columns=columns, page_checksum_verification=True)


@contextmanager
def table_writer(at: Place, schema: pa.Schema) -> Iterator[tuple[pq.ParquetWriter, Written]]:
    """A writer of one Parquet file that carries checksums, and what is known of the file afterwards."""
    split = [field.name for field in schema if field.type in _SPLIT]
    others = [field.name for field in schema if field.name not in split]
    options = {"use_byte_stream_split": split, "use_dictionary": others, "compression": "zstd"}
    blocks = verified.Blocks()
    with (
        storage.writing(at, blocks) as written,
        pq.ParquetWriter(written.sink, schema, write_page_checksum=True, **options) as writer,
    ):
        yield writer, written
        writer.add_key_value_metadata({verified.KEY: blocks.text()})


class PartWriter:
    """Writes record batches to `<folder>/part-00000.parquet` and onwards; use as a context manager."""

    def __init__(self, base: Place, folder: str, schema: pa.Schema) -> None:
        self.base, self.folder, self.schema = base, base / folder, schema
        self.parts: list[PartFile] = []
        self.waiting: list[pa.RecordBatch] = []
        self.waiting_rows = 0
        self.part_rows = 0
        self.writer: pq.ParquetWriter | None = None
        self.part = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        if failure is None:
            self._flush(everything=True)
            if not self.parts and self.writer is None:
                self._write(self.schema.empty_table())
        self._end_part(record=failure is None)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        if len(batch):
            self.waiting.append(batch)
            self.waiting_rows += len(batch)
            if self.waiting_rows >= GROUP_ROWS:
                self._flush()

    def _flush(self, everything: bool = False) -> None:
        if not self.waiting:
            return
        table = pa.Table.from_batches(self.waiting, schema=self.schema)
        whole = len(table) if everything else len(table) - len(table) % GROUP_ROWS
        for start in range(0, whole, GROUP_ROWS):
            self._write(table.slice(start, min(GROUP_ROWS, whole - start)))
        # The rest is copied: a slice would keep the memory of the whole table alive.
        rest = table.take(pa.array(np.arange(whole, len(table))))
        self.waiting = rest.combine_chunks().to_batches() if len(rest) else []
        self.waiting_rows = len(rest)

    def _write(self, table: pa.Table) -> None:
        if self.writer is None:
            at = self.folder / f"part-{len(self.parts):05d}.parquet"
            self.writer, self.written = self.part.enter_context(table_writer(at, self.schema))
        self.writer.write_table(table)
        self.part_rows += len(table)
        if self.part_rows >= PART_ROWS:
            self._end_part()

    def _end_part(self, record: bool = True) -> None:
        if self.writer is None:
            return
        self.part.close()
        if record:
            self.parts.append(PartFile.of(self.base, self.written, self.part_rows))
        self.writer, self.part_rows = None, 0
