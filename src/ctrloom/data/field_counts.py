"""What was counted of each field, read again; the engine merges what did not fit into memory at once."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom import storage
from ctrloom.data.counts import COUNTS, KINDS, counts_schema
from ctrloom.data.engines import Engine
from ctrloom.data.errors import DataError
from ctrloom.data.manifest import CountedKind, IngestedManifest
from ctrloom.data.parts import footer_of, read_part, read_parts, table_writer
from ctrloom.data.typed import counted_fields
from ctrloom.storage import Place

COUNTED = pa.schema([("value", pa.string()), ("count", pa.int64())])


@dataclass(frozen=True)
class FieldCounts:
    """The values of one field with their counts; numbers ascend, tokens come in any order.

    The values are most of what there is to read, so those that are not asked for are not read.
    """

    read: Callable[[range, list[str]], Iterator[pa.RecordBatch]]  # of a span: `value`, or some of COUNTS
    span: range

    def numbers(self, count: str) -> Iterator[np.ndarray]:
        """One of the counts of all values."""
        for batch in self.read(self.span, [count]):
            yield batch.column(count).to_numpy()

    def total(self, count: str) -> int:
        """Sum of one of the counts."""
        return sum(int(numbers.sum()) for numbers in self.numbers(count))

    def where(self, count: str, least: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Values of which one of the counts is at least so much: `value` and some of COUNTS."""
        for span in self._spans(count, least):
            for batch in self.read(span, list({count: None, **dict.fromkeys(columns)})):
                yield batch.filter(pc.greater_equal(batch.column(count), least)).select(list(columns))

    def chunks(self, count: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Values that one of the counts has, and how often."""
        for batch in self.where(count, 1, ["value", count]):
            yield batch.column("value").to_numpy(zero_copy_only=False), batch.column(count).to_numpy()

    def training(self, least: int = 1) -> Iterator[pa.RecordBatch]:
        """Tokens that came so often in rows to train, and how often, as COUNTED has them."""
        for batch in self.where("train", least, ["value", "train"]):
            yield batch.rename_columns(COUNTED.names)

    def _spans(self, count: str, least: int) -> list[range]:
        """Where one of the counts is at least so much somewhere."""
        found: list[range] = []
        start = self.span.start
        for numbers in self.numbers(count):
            if len(numbers) and numbers.max() >= least:
                if not found or found[-1].stop < start:
                    found.append(range(start, start))
                found[-1] = range(found[-1].start, start + len(numbers))
            start += len(numbers)
        return found


@contextmanager
def field_counts(
    manifest: IngestedManifest, base: Place, engine: Engine, folder: Place
) -> Iterator[Mapping[str, FieldCounts]]:
    """What was counted of every field, until the context ends; there may be a copy in `folder` meanwhile.

    Raises:
        DataError: the rows were ingested before values were counted with them, or a file is damaged.
    """
    if manifest.counts is None:
        raise DataError(f"{base}: was ingested by an older ctrloom, without counts; ingest the rows again")
    with ExitStack() as stack:
        spans = {kind: stack.enter_context(_spans(manifest, base, engine, folder, kind)) for kind in KINDS}
        yield {
            name: spans[kind](number) for number, (name, kind) in enumerate(counted_fields(manifest.source))
        }


@contextmanager
def _spans(
    manifest: IngestedManifest, base: Place, engine: Engine, folder: Place, kind: CountedKind
) -> Iterator[Callable[[int], FieldCounts]]:
    """Finds the counts of a field of one kind by its number."""
    assert manifest.counts is not None
    files: list[Place] = [base / part.path for part in manifest.counts[kind]]
    with tempfile.TemporaryDirectory(prefix=".counts.", dir=storage.scratch(folder)) as aside:
        if len(files) > 1:
            files = [_merged(files, engine, Path(aside) / f"{kind}.parquet", kind)]
        sizes = np.zeros(len(counted_fields(manifest.source)), dtype=np.int64)
        for batch in read_parts(files, ["field"]):
            sizes += np.bincount(batch.column("field").to_numpy(), minlength=len(sizes))
        stops = np.cumsum(sizes)

        def read(span: range, columns: list[str]) -> Iterator[pa.RecordBatch]:
            return read_part(files[0], span, columns=columns, footer=footer) if span else iter(())

        footer = footer_of(files[0]) if files else None
        yield lambda number: FieldCounts(read, range(int(stops[number] - sizes[number]), int(stops[number])))


def _merged(files: list[Place], engine: Engine, at: Path, kind: CountedKind) -> Place:
    """One file in which each value of a field stands once."""
    rows = engine.rows(files)
    sums = {name: rows[name].sum() for name in COUNTS}
    whole = rows.group_by(["field", "value"]).agg(**sums).order_by(["field", "value"])
    with engine.kept(whole) as kept, table_writer(at, counts_schema(KINDS[kind]), ["value"]) as (writer, _):
        for batch in kept.batches():
            writer.write_batch(batch.cast(writer.schema))
    return at
