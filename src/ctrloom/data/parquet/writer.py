"""Streaming writer of Parquet parts of bounded size."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from ctrloom import storage
from ctrloom.data.arrow.dictionary import dictionary_encode, is_dictionary, lean, plain
from ctrloom.data.manifest import PartFile
from ctrloom.data.parquet import checksums
from ctrloom.storage import Place, Written

GROUP_ROWS = 32_768  # rows per row group, at most twice as many; bounds the memory of readers
PART_ROWS = 128 * GROUP_ROWS
# Above this number of distinct tokens per row, a dictionary costs more space and time than it saves.
DICTIONARY_SHARE = 0.5
# Ids, counts, factors: byte stream split is smaller and faster than other encodings.
_SPLIT = (pa.int32(), pa.int64(), pa.float32())


@contextmanager
def table_writer(
    at: Place, schema: pa.Schema, unlike: Sequence[str] = (), ranges: Sequence[str] = ()
) -> Iterator[tuple[pq.ParquetWriter, Written]]:
    """A writer of one Parquet file with block checksums, and the description of the file.

    Columns in `unlike` have mostly unique values. Each row group has min/max statistics of the columns in
    `ranges`.
    """
    split = [field.name for field in schema if field.type in _SPLIT]
    others = [field.name for field in schema if field.name not in {*split, *unlike}]
    options: dict[str, Any] = {
        "use_byte_stream_split": split,
        "use_dictionary": others,
        "compression": "zstd",
        # Pages are bounded by bytes only: smaller pages take up to a sixth longer.
        "max_rows_per_page": 1 << 22,
        "write_batch_size": 1 << 15,
        # Rows may be dictionary-encoded when written, but must not be when read.
        "store_schema": not any(is_dictionary(field.type) for field in schema),
        # Statistics of texts would double the time of a write; those of other columns are not used.
        "write_statistics": list(ranges),
    }
    with sealed_writer(at, schema, **options) as (writer, written):
        yield writer, written


@contextmanager
def sealed_writer(at: Place, schema: pa.Schema, **options: Any) -> Iterator[tuple[pq.ParquetWriter, Written]]:
    """A writer of one Parquet file with checksums of every byte, and the description of the file.

    Other programs read it too; they verify the checksums of pages at most.
    """
    blocks = checksums.Blocks()
    with storage.writing(at, blocks) as written:
        sealed = checksums.SealedFooter(written.sink)
        sink = pa.BufferedOutputStream(pa.PythonFile(sealed, "w"), storage.BUFFER)
        with pq.ParquetWriter(sink, schema, write_page_checksum=True, **options) as writer:
            yield writer, written
            sink.flush()
            written.sink.flush()  # so that the checksums cover all data
            writer.add_key_value_metadata({checksums.KEY: blocks.text()})
            sealed.is_footer = True
        sink.flush()
        written.seal = sealed.finish()


def in_groups(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Rebatch into batches of `rows` rows; the last one may be smaller."""
    waiting: list[pa.RecordBatch] = []
    room = rows
    for batch in batches:
        while len(batch):
            waiting.append(batch.slice(0, room))
            batch, room = batch.slice(room), room - len(waiting[-1])
            if not room:
                yield pa.concat_batches(waiting)
                waiting, room = [], rows
    if waiting:
        yield pa.concat_batches(waiting)


def packed(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows in the form that is fastest to write: see `lean`."""
    return pa.RecordBatch.from_arrays([lean(column) for column in rows.columns], rows.schema.names)


def _joined(chunks: Sequence[pa.Array]) -> pa.Array:
    """Concatenate chunks into one column."""
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays([plain(chunk) for chunk in chunks])


def _stored(column: pa.Array) -> pa.DataType:
    """Storage type of a column: tokens use a dictionary unless it would be long."""
    if is_dictionary(column.type) and len(column.dictionary) > DICTIONARY_SHARE * len(column):
        return column.type.value_type
    return column.type


class PartWriter:
    """Writes record batches to `<folder>/part-00000.parquet`, ...; use as a context manager."""

    def __init__(self, base: Place, folder: str, schema: pa.Schema) -> None:
        self.base, self.folder = base, base / folder
        self.schema = schema
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
            self._flush()
            if not self.begun:
                self._write(self.schema.empty_table())
        self._end_part(record=failure is None)

    @property
    def begun(self) -> bool:
        """True if anything has been written."""
        return bool(self.parts) or self.writer is not None

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        if len(batch):
            self.waiting.append(packed(batch))
            self.waiting_rows += len(batch)
            if self.waiting_rows >= GROUP_ROWS:
                self._flush()

    def _flush(self) -> None:
        """Write the buffered rows in groups of `GROUP_ROWS`; the last group also takes the remainder."""
        if not self.waiting:
            return
        columns = [_joined(chunks) for chunks in zip(*(rows.columns for rows in self.waiting), strict=True)]
        if not self.begun:  # the first rows determine the storage types
            columns = [dictionary_encode(c) if pa.types.is_string(c.type) else c for c in columns]
            self.schema = pa.schema(zip(self.schema.names, map(_stored, columns), strict=True))
        columns = [
            dictionary_encode(column) if is_dictionary(type) else plain(column)
            for type, column in zip(self.schema.types, columns, strict=True)
        ]
        table = pa.Table.from_arrays(columns, schema=self.schema)
        self.waiting, self.waiting_rows = [], 0
        starts = range(0, max(len(table) - GROUP_ROWS, 0) + 1, GROUP_ROWS)
        for start, stop in pairwise([*starts, len(table)]):
            self._write(table.slice(start, stop - start))

    def _write(self, table: pa.Table) -> None:
        if self.writer is None:
            at = self.folder / f"part-{len(self.parts):05d}.parquet"
            unlike = [field.name for field in self.schema if pa.types.is_string(field.type)]
            self.writer, self.written = self.part.enter_context(table_writer(at, self.schema, unlike))
        self.writer.write_table(table, len(table) or None)
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
