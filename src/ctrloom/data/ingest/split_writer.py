"""Writes clean rows to the files of their splits and counts their values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from ctrloom.config import SPLITS, DataConfig, Split
from ctrloom.data.arrow.dictionary import rows_at
from ctrloom.data.ingest.cast import counted_fields, typed_schema
from ctrloom.data.ingest.negatives import Thinning
from ctrloom.data.ingest.splits import Assign
from ctrloom.data.ingest.weight_check import SplitWeight
from ctrloom.data.manifest import CountedKind, PartFile
from ctrloom.data.parquet.writer import PartWriter, packed
from ctrloom.data.threads import BackgroundThread, map_in_threads
from ctrloom.data.vocabulary.count_writer import CountWriter
from ctrloom.data.vocabulary.value_counts import KINDS, Counted, count_values, kinds
from ctrloom.storage import Place

Batches = Iterator[tuple[Split, pa.RecordBatch]]  # the split of a file, and its clean rows
_OUT = -1  # instead of a split, for rows that are dropped


@dataclass
class Tally:
    """Row counts of an ingest."""

    read: int = 0
    dropped: int = 0
    thinned: int = 0
    first: int | None = None  # timestamps
    last: int | None = None
    rows: dict[Split, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    positives: dict[Split, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    weights: dict[Split, SplitWeight] = field(
        default_factory=lambda: {split: SplitWeight() for split in SPLITS}
    )

    @property
    def days(self) -> tuple[date, date] | None:
        """First and last day of the rows, UTC; None without timestamps."""
        if self.first is None or self.last is None:
            return None
        return _day(self.first), _day(self.last)

    def add_times(self, times: np.ndarray) -> None:
        """Add the timestamps of rows."""
        if len(times):
            first, last = int(times.min()), int(times.max())
            self.first = first if self.first is None else min(self.first, first)
            self.last = last if self.last is None else max(self.last, last)


@dataclass(frozen=True)
class WrittenSplits:
    """The written files."""

    files: dict[Split, tuple[PartFile, ...]]
    counts: dict[CountedKind, tuple[PartFile, ...]]


@dataclass(frozen=True)
class _Divided:
    """Rows of each split, and per kind the value counts with the index of their field."""

    rows: dict[Split, pa.RecordBatch]
    counted: dict[CountedKind, list[tuple[int, Counted]]]


def write_splits(
    config: DataConfig,
    clean: Batches,
    assign: Assign,
    folder: Place,
    aside: Path,
    tally: Tally,
    thin: Thinning | None,
) -> WrittenSplits:
    """Write rows to the splits that `assign` chooses; rows of validation and test files keep their split."""
    schema, fields = typed_schema(config.source), counted_fields(config.source)
    counts = {kind: CountWriter(folder, kind, aside) for kind in KINDS}

    def count(counted: Mapping[CountedKind, list[tuple[int, Counted]]]) -> None:
        for kind, writer in counts.items():
            writer.add(counted[kind])

    def finish(writers: Iterable[CountWriter]) -> None:
        for writer in writers:
            writer.finish()

    with ExitStack() as stack:
        counting = stack.enter_context(BackgroundThread())
        writers = {s: stack.enter_context(PartWriter(folder, s, schema)) for s in SPLITS}
        lanes = {s: stack.enter_context(BackgroundThread()) for s in SPLITS}  # small splits flush in bursts
        assigned = _assigned(config, clean, assign, tally, thin)
        for each in map_in_threads(partial(_divided, fields), assigned, threads=1):
            counting.do(count, each.counted)
            for split, rows in each.rows.items():
                lanes[split].do(writers[split].write, rows)
        counting.do(finish, counts.values())  # while the row writers finish
    return WrittenSplits(
        {split: tuple(writer.parts) for split, writer in writers.items()},
        {kind: writer.files for kind, writer in counts.items()},
    )


def _assigned(
    config: DataConfig, clean: Batches, assign: Assign, tally: Tally, thin: Thinning | None
) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Rows with the indices of their splits in SPLITS."""
    for given, batch in clean:
        labels = batch["label"].to_numpy()
        weights = batch["weight"].to_numpy() if config.named("weight") else None
        times = batch["timestamp"].to_numpy() if config.named("timestamp") else None
        chosen = assign(labels, times) if given == "train" else np.full(len(labels), SPLITS.index(given))
        if thin:
            stays = thin(labels, chosen)
            tally.thinned += int(np.sum(~stays))
            chosen = np.where(stays, chosen, _OUT)
        if times is not None:
            tally.add_times(times[chosen != _OUT])
        for number, split in enumerate(SPLITS):
            mine = chosen == number
            tally.rows[split] += int(mine.sum())
            tally.positives[split] += int(labels[mine].sum())
            if weights is not None:
                tally.weights[split].add(labels[mine], weights[mine])
        yield batch, chosen


def _day(instant: int) -> date:
    return date(1970, 1, 1) + timedelta(days=instant // 86_400)


def _divided(fields: Sequence[tuple[str, CountedKind]], given: tuple[pa.RecordBatch, np.ndarray]) -> _Divided:
    batch, chosen = given
    of_split = {
        split: rows_at(batch, np.flatnonzero(chosen == number)) for number, split in enumerate(SPLITS)
    }
    if (chosen == _OUT).any():
        batch, chosen = rows_at(batch, np.flatnonzero(chosen != _OUT)), chosen[chosen != _OUT]
    kind_N = kinds(batch["label"].to_numpy(), chosen == SPLITS.index("train"))
    counted: dict[CountedKind, list[tuple[int, Counted]]] = {kind: [] for kind in KINDS}
    for number, (name, kind) in enumerate(fields):
        counted[kind].append((number, count_values(batch[name], kind_N)))
    return _Divided({split: packed(rows) for split, rows in of_split.items()}, counted)
