"""Clean rows to the files of their splits, their values counted on the way."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from ctrloom.config import SPLITS, DataConfig, Split
from ctrloom.data.arrow.dictionary import rows_at
from ctrloom.data.ingest.cast import counted_fields, typed_schema
from ctrloom.data.ingest.negatives import Thinning
from ctrloom.data.ingest.splits import Assign
from ctrloom.data.manifest import CountedKind, PartFile
from ctrloom.data.parquet.writer import PartWriter, packed
from ctrloom.data.threads import Beside, in_order
from ctrloom.data.vocabulary.count_writer import CountWriter
from ctrloom.data.vocabulary.value_counts import KINDS, Counted, count_values, kinds
from ctrloom.storage import Place

Batches = Iterator[tuple[Split, pa.RecordBatch]]  # clean rows, and the split that their file stands for
_OUT = -1  # in place of a split, of rows that are left out


@dataclass
class Tally:
    """What happened to the rows."""

    read: int = 0
    dropped: int = 0
    thinned: int = 0
    rows: dict[Split, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    positives: dict[Split, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))


@dataclass(frozen=True)
class Distributed:
    """The files that were written."""

    files: dict[Split, tuple[PartFile, ...]]
    counts: dict[CountedKind, tuple[PartFile, ...]]


@dataclass(frozen=True)
class _Divided:
    """Rows of each split, and per kind what was counted of them, each with the number of its field."""

    rows: dict[Split, pa.RecordBatch]
    counted: dict[CountedKind, list[tuple[int, Counted]]]


def distribute(
    config: DataConfig,
    clean: Batches,
    assign: Assign,
    folder: Place,
    aside: Path,
    tally: Tally,
    thin: Thinning | None,
) -> Distributed:
    """Write rows to where `assign` has them; those of files given for validation or test go there."""
    schema, fields = typed_schema(config.source), counted_fields(config.source)
    counts = {kind: CountWriter(folder, kind, aside) for kind in KINDS}

    def count(counted: Mapping[CountedKind, list[tuple[int, Counted]]]) -> None:
        for kind, writer in counts.items():
            writer.add(counted[kind])

    def finish(writers: Iterable[CountWriter]) -> None:
        for writer in writers:
            writer.finish()

    with ExitStack() as stack:
        counting = stack.enter_context(Beside())
        writers = {s: stack.enter_context(PartWriter(folder, s, schema)) for s in SPLITS}
        lanes = {s: stack.enter_context(Beside()) for s in SPLITS}  # small splits are written in bursts
        assigned = _assigned(config, clean, assign, tally, thin)
        for each in in_order(partial(_divided, fields), assigned, threads=1):
            counting.do(count, each.counted)
            for split, rows in each.rows.items():
                lanes[split].do(writers[split].write, rows)
        counting.do(finish, counts.values())  # while the writers of rows end
    return Distributed(
        {split: tuple(writer.parts) for split, writer in writers.items()},
        {kind: writer.files for kind, writer in counts.items()},
    )


def _assigned(
    config: DataConfig, clean: Batches, assign: Assign, tally: Tally, thin: Thinning | None
) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
    """Rows with the places of their splits in SPLITS."""
    for given, batch in clean:
        labels = batch["label"].to_numpy()
        times = batch["timestamp"].to_numpy() if config.named("timestamp") else None
        chosen = assign(labels, times) if given == "train" else np.full(len(labels), SPLITS.index(given))
        if thin:
            stays = thin(labels, chosen)
            tally.thinned += int(np.sum(~stays))
            chosen = np.where(stays, chosen, _OUT)
        for number, split in enumerate(SPLITS):
            mine = chosen == number
            tally.rows[split] += int(mine.sum())
            tally.positives[split] += int(labels[mine].sum())
        yield batch, chosen


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
