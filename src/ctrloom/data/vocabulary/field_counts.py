"""Reads the value counts of ingested data."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import counted_fields
from ctrloom.data.manifest import CountedKind, IngestedManifest
from ctrloom.data.parquet.reader import PartReader
from ctrloom.data.vocabulary.value_counts import KINDS, field_spans
from ctrloom.storage import Place

Read = Callable[[range, list[str]], Iterator[pa.RecordBatch]]  # reads columns (`value` and COUNTS) of a span
COUNTS_SCHEMA = pa.schema([("value", pa.string()), ("count", pa.int64())])


@dataclass(frozen=True)
class FieldCounts:
    """The values of one field with their counts; numbers are ascending, tokens in any order.

    The values are most of the data, so they are read only if needed.
    """

    read: Read
    span: range

    def numbers(self, count: str) -> Iterator[np.ndarray]:
        """One of the counts of all values."""
        for batch in self.read(self.span, [count]):
            yield batch.column(count).to_numpy()

    def total(self, count: str) -> int:
        """Sum of one of the counts."""
        return sum(int(numbers.sum()) for numbers in self.numbers(count))

    def held_out(self, least: int) -> tuple[int, int]:
        """Values of rows outside training: all, and those of tokens with at least `least` training rows."""
        every = self.total("count") - self.total("train")
        known = sum(
            int(batch.column("count").to_numpy().sum() - batch.column("train").to_numpy().sum())
            for batch in self.where("train", least, ["count", "train"])
        )
        return every, known

    def where(self, count: str, least: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Rows with a count of at least `least`; `columns` are `value` and some of COUNTS."""
        for span in self._spans(count, least):
            for batch in self.read(span, list({count: None, **dict.fromkeys(columns)})):
                often = batch.filter(pc.greater_equal(batch.column(count), least))
                if len(often):
                    yield often.select(list(columns))

    def chunks(self, count: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Values with a positive count, and the count."""
        for batch in self.where(count, 1, ["value", count]):
            yield batch.column("value").to_numpy(zero_copy_only=False), batch.column(count).to_numpy()

    def training(self, least: int = 1) -> Iterator[pa.RecordBatch]:
        """Tokens with at least `least` training rows, and their counts, in the schema COUNTS_SCHEMA."""
        for batch in self.where("train", least, ["value", "train"]):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=COUNTS_SCHEMA)

    def _spans(self, count: str, least: int) -> list[range]:
        """Spans of batches with a count of at least `least`; the whole span, unread, if `least` is 1."""
        if least <= 1:
            return [self.span]
        found: list[range] = []
        start = self.span.start
        for numbers in self.numbers(count):
            if len(numbers) and numbers.max() >= least:
                if not found or found[-1].stop < start:
                    found.append(range(start, start))
                found[-1] = range(found[-1].start, start + len(numbers))
            start += len(numbers)
        return found


def field_counts(manifest: IngestedManifest, base: Place) -> dict[str, FieldCounts]:
    """The value counts of every field.

    Raises:
        DataError: the rows were ingested by an older version without such counts, or a file is corrupt.
    """
    old = DataError(
        f"{base}: was ingested by an older ctrloom without complete counts; ingest the rows again"
    )
    if manifest.counts is None or any(len(parts) > 1 for parts in manifest.counts.values()):
        raise old
    found: dict[CountedKind, tuple[Read, dict[int, range]]] = {kind: (_nothing, {}) for kind in KINDS}
    for kind, parts in manifest.counts.items():
        for part in parts:
            part.require_unchanged(base)
            reader = PartReader(base / part.path)
            if not reader.known.seal:
                raise old
            found[kind] = partial(_read, reader), field_spans(reader.footer)
    counts: dict[str, FieldCounts] = {}
    for number, (name, kind) in enumerate(counted_fields(manifest.source)):
        read, spans = found[kind]
        counts[name] = FieldCounts(read, spans.get(number, range(0)))
    return counts


def _nothing(span: range, columns: list[str]) -> Iterator[pa.RecordBatch]:
    return iter(())


def _read(reader: PartReader, span: range, columns: list[str]) -> Iterator[pa.RecordBatch]:
    return reader.rows(span, columns=columns)
