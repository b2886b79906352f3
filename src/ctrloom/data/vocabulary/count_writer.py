"""Counts gathered over all rows: in memory, and in files where it does not hold them."""

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

MOST_MERGED = 4  # fields at a time: each takes several times its counts
MOST_BYTES = 192 << 20  # of counts in memory; past that they are merged, and spilled if that is in vain


class CountWriter:
    """Counts fields of one kind, each under its number, into `<base>/counts/<kind>.parquet`.

    In the file, each value of a field stands once, and the fields one after the other, in any order.
    What memory does not hold is spilled to the directory `aside` of this machine.
    """

    def __init__(self, base: Place, kind: CountedKind, aside: Path) -> None:
        self.base, self.kind, self.aside = base, kind, aside
        self.parts: dict[int, list[Counted]] = {}
        self.bytes = 0
        self.spilled: list[Path] = []
        self.files: tuple[PartFile, ...] = ()  # one, or none where there are no such fields

    def add(self, counted: Iterable[tuple[int, Counted]]) -> None:
        """Take what was counted of some rows."""
        for number, part in counted:
            if len(part.values):
                self.parts.setdefault(number, []).append(part)
                self.bytes += part.bytes
        if self.bytes > MOST_BYTES:
            self.parts = {number: [whole] for number, whole in self._merged()}
            self.bytes = sum(part.bytes for (part,) in self.parts.values())
            if self.bytes > MOST_BYTES // 2:  # to merge again and again would be most of the work
                self._spill()

    def finish(self) -> None:
        """Write the file."""
        if not self.parts and not self.spilled:
            return
        pa.default_memory_pool().release_unused()  # of the blocks of text, whose memory is needed here
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
        """Write what is in memory."""
        at = self.aside / f"{self.kind}-{len(self.spilled):05d}.parquet"
        with counts_writer(at, self.kind) as (write, _):
            for number, whole in self._merged():
                write(table_of(number, whole))
        self.bytes = 0
        self.spilled.append(at)

    def _merged(self, workers: int = 1) -> Iterator[tuple[int, Counted]]:
        """What was counted of each field, which is forgotten here; not ahead while others need memory."""
        # The largest first: at the end, none is waited for.
        fields = sorted(self.parts, key=lambda number: -sum(len(part.values) for part in self.parts[number]))

        def whole(number: int) -> Counted:
            return merged(self.parts.pop(number))

        wholes = threads.in_order(whole, fields, workers) if workers > 1 else map(whole, fields)
        return zip(fields, wholes, strict=True)


def merged_files(files: Sequence[Path], kind: CountedKind, aside: Path) -> Iterator[pa.Table]:
    """The counts of all files, field by field; DuckDB merges a field that is too much for memory."""
    spans: dict[int, list[tuple[PartReader, range]]] = {}
    sizes = Counter[int]()
    for part in map(PartReader, files):
        for number, span in field_spans(part.footer).items():
            spans.setdefault(number, []).append((part, span))
        for group in range(part.footer.num_row_groups):
            sizes[field_of(part.footer, group)] += part.footer.row_group(group).total_byte_size
    with opened(EMBEDDED, aside) as engine:  # no other machine sees these files
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
