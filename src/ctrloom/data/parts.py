"""Parquet parts of bounded size, written as rows come."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ctrloom.data.manifest import PartFile

GROUP_ROWS = 32_768  # rows per row group: what a reader holds at a time
PART_ROWS = 128 * GROUP_ROWS


def read_parts(paths: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    """Rows of Parquet parts in order, a row group's worth at a time."""
    for path in paths:
        with pq.ParquetFile(path, buffer_size=1 << 20) as file:
            yield from read_groups(file, GROUP_ROWS)


def read_groups(
    file: pq.ParquetFile, rows: int, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Batches of at most `rows` rows of one Parquet file."""
    for group in range(file.num_row_groups):
        # One call for all groups would hold on to what it has read of earlier ones.
        yield from file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)


class PartWriter:
    """Writes record batches to `<folder>/part-00000.parquet` and onwards; use as a context manager."""

    def __init__(self, base: Path, folder: str, schema: pa.Schema) -> None:
        self.base, self.folder, self.schema = base, base / folder, schema
        self.folder.mkdir(parents=True, exist_ok=True)
        self.parts: list[PartFile] = []
        self.waiting: list[pa.RecordBatch] = []
        self.waiting_rows = 0
        self.part_rows = 0
        self.writer: pq.ParquetWriter | None = None

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
            self.writer = pq.ParquetWriter(self._path(), self.schema, compression="zstd")
        self.writer.write_table(table)
        self.part_rows += len(table)
        if self.part_rows >= PART_ROWS:
            self._end_part()

    def _path(self) -> Path:
        return self.folder / f"part-{len(self.parts):05d}.parquet"

    def _end_part(self, record: bool = True) -> None:
        if self.writer is None:
            return
        self.writer.close()
        if record:
            self.parts.append(PartFile.of(self.base, self._path(), self.part_rows))
        self.writer, self.part_rows = None, 0
