"""Accumulates value counts over all rows, spilling to files if they do not fit into memory."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from ctrloom.data import threads
from ctrloom.data.engines import EMBEDDED, Engine, opened
from ctrloom.data.manifest import CountedKind, PartFile
from ctrloom.data.parquet.reader import PartReader
from ctrloom.data.parquet.writer import in_groups
from ctrloom.data.vocabulary.value_counts import (
    COUNTS,
    KINDS,
    ROWS,
    Counted,
    counts_schema,
    counts_writer,
    field_of,
    field_spans,
    merged,
    table_of,
)
from ctrloom.storage import Place

MOST_MERGED = 4  # fields merged in parallel: each needs several times the memory of its counts
MOST_BYTES = 192 << 20  # limit of counts in memory: above it they are merged, then spilled if still large


class CountWriter:
    """Counts the values of fields of one kind, by field index, into `<base>/counts/<kind>.parquet`.

    In the file, the values of a field are unique and contiguous; the order of fields is arbitrary. Counts
    that do not fit into memory are spilled to the local directory `aside`.
    """

    def __init__(self, base: Place, kind: CountedKind, aside: Path) -> None:
        self.base, self.kind, self.aside = base, kind, aside
        self.parts: dict[int, list[Counted]] = {}
        self.bytes = 0
        self.spilled: list[Path] = []
        self.files: tuple[PartFile, ...] = ()  # one file, or none if there are no such fields

    def add(self, counted: Iterable[tuple[int, Counted]]) -> None:
        """Add the counts of some rows."""
        for number, part in counted:
            if len(part.values):
                self.parts.setdefault(number, []).append(part)
                self.bytes += part.bytes
        if self.bytes > MOST_BYTES:
            self.parts = {number: [whole] for number, whole in self._merged()}
            self.bytes = sum(part.bytes for (part,) in self.parts.values())
            if self.bytes > MOST_BYTES // 2:  # otherwise merging would dominate
                self._spill()

    def finish(self) -> None:
        """Write the file."""
        if not self.parts and not self.spilled:
            return
        pa.default_memory_pool().release_unused()  # memory of text blocks, needed here
        if self.spilled and self.parts:
            self._spill()
        rows = 0
        with counts_writer(self.base / "counts" / f"{self.kind}.parquet", self.kind) as (write, written):
            for table in self._tables():
                write(table)
                rows += len(table)
        self.files = (PartFile.of(self.base, written, rows),)

    def _tables(self) -> Iterator[pa.Table]:
        if self.spilled:
            return merged_files(self.spilled, self.kind, self.aside)
        workers = min(threads.count(), MOST_MERGED)
        return (table_of(number, whole) for number, whole in self._merged(workers))

    def _spill(self) -> None:
        """Write the counts in memory to a spill file."""
        at = self.aside / f"{self.kind}-{len(self.spilled):05d}.parquet"
        with counts_writer(at, self.kind) as (write, _):
            for number, whole in self._merged():
                write(table_of(number, whole))
        self.bytes = 0
        self.spilled.append(at)

    def _merged(self, workers: int = 1) -> Iterator[tuple[int, Counted]]:
        """Merge and release the counts of each field; with one worker, not ahead of the consumer."""
        # The largest first, so that no large field is left for the end.
        fields = sorted(self.parts, key=lambda number: -sum(len(part.values) for part in self.parts[number]))

        def whole(number: int) -> Counted:
            return merged(self.parts.pop(number))

        wholes = threads.map_in_threads(whole, fields, workers) if workers > 1 else map(whole, fields)
        return zip(fields, wholes, strict=True)


def merged_files(files: Sequence[Path], kind: CountedKind, aside: Path) -> Iterator[pa.Table]:
    """Merge the counts of all files field by field; DuckDB merges fields that do not fit into memory."""
    spans: dict[int, list[tuple[PartReader, range]]] = {}
    sizes = Counter[int]()
    for part in map(PartReader, files):
        for number, span in field_spans(part.footer).items():
            spans.setdefault(number, []).append((part, span))
        for group in range(part.footer.num_row_groups):
            sizes[field_of(part.footer, group)] += part.footer.row_group(group).total_byte_size
    with opened(EMBEDDED, aside) as engine:  # these files are local
        for number, here in sorted(spans.items()):
            if sizes[number] <= MOST_BYTES // 2:
                yield table_of(number, merged([_read(part, span) for part, span in here]))
            else:
                yield from _merged_by_engine(engine, number, [part.path for part, _ in here], kind)


def _read(part: PartReader, span: range) -> Counted:
    table = pa.Table.from_batches(part.rows(span, columns=["value", *COUNTS])).combine_chunks()
    counts = [table[name].to_numpy() for name in COUNTS]
    return Counted(table["value"].combine_chunks(), np.stack(counts, axis=1))


def _merged_by_engine(
    engine: Engine, number: int, files: list[Place], kind: CountedKind
) -> Iterator[pa.Table]:
    rows = engine.rows(files)
    rows = rows.filter(rows.field == number)
    whole = rows.group_by(["field", "value"]).agg(**{name: rows[name].sum() for name in COUNTS})
    with engine.kept(whole.order_by("value")) as kept:
        for batch in in_groups(kept.batches(), ROWS):
            yield pa.Table.from_batches([batch]).cast(counts_schema(KINDS[kind]))
