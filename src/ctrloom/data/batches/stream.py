"""Streaming batches from Parquet files window by window, for data larger than memory.

N rows in a batch, T rows of a split.
"""

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Self

import pyarrow as pa
import torch
from torch import Tensor

from ctrloom.data.batches.batch import Batch, concatenated
from ctrloom.data.batches.tensors import BatchFiller
from ctrloom.data.errors import DamagedDataError
from ctrloom.data.manifest import PartFile
from ctrloom.data.parquet.reader import PartReader
from ctrloom.data.threads import map_in_threads
from ctrloom.schema import Schema
from ctrloom.storage import Place

WINDOW = 16  # row groups that are shuffled together; two windows are in memory, briefly three


@dataclass(frozen=True)
class RowGroup:
    """Rows of one row group of a Parquet file."""

    part: PartReader
    span: range  # in the file
    kept: Tensor | None = field(default=None, compare=False)  # mask of the rows to use; None: all

    def __len__(self) -> int:
        return len(self.span) if self.kept is None else int(self.kept.sum())

    def read(self, columns: list[str] | None = None) -> list[pa.RecordBatch]:
        """The rows."""
        batches = list(self.part.rows(self.span, columns=columns))
        if self.kept is None:
            return batches
        sizes = [len(batch) for batch in batches]
        masks = self.kept.split(sizes)
        return [batch.filter(pa.array(mask.numpy())) for batch, mask in zip(batches, masks, strict=True)]


def row_groups_of(base: Place, part: PartFile, span: range) -> list[RowGroup]:
    """The row groups of a file that overlap a span of rows, cut to the span.

    Raises:
        StorageError: a file cannot be read, or fails its checksum.
        DamagedDataError: a file cannot be read, is corrupt, or is not the one that was written.
    """
    reader = PartReader(base / part.path)
    part.require_seal(base, reader.known.seal)
    if reader.footer.num_rows != part.rows:
        raise DamagedDataError(
            f"{base / part.path}: was changed after it was written: {reader.footer.num_rows} rows instead of "
            f"{part.rows}; delete the folder of this data set and create it again"
        )
    within = (range(max(span.start, rows.start), min(span.stop, rows.stop)) for rows in reader.spans)
    return [RowGroup(reader, here) for here in within if here]


class Stream:
    """The rows of a split, read from disk in every epoch.

    A shuffled epoch draws the order of the row groups, reads them window by window, and shuffles the rows of
    each window. The next window is read and copied to the device while the current one is in use. The order
    depends only on the generator, not on thread scheduling.
    """

    def __init__(
        self,
        schema: Schema,
        extra: Sequence[str],
        row_groups: Sequence[RowGroup],
        device: torch.device | None = None,
    ) -> None:
        self.schema, self.extra, self.row_groups = schema, extra, row_groups
        self.device = device or torch.device("cpu")
        self.total = sum(map(len, row_groups))

    def __len__(self) -> int:
        return self.total

    @cached_property
    def label_N(self) -> Tensor:  # noqa: N802
        """All labels, in order."""
        return self._column("label")

    @cached_property
    def weight_N(self) -> Tensor | None:  # noqa: N802
        """All weights, in order."""
        return self._column("weight") if "weight" in self.extra else None

    def to(self, device: torch.device) -> Self:
        """The same rows with batches on `device`."""
        moved = copy.copy(self)
        moved.device = device
        return moved

    def batches(self, size: int) -> Iterator[Batch]:
        """Consecutive batches of `size` rows; the last one may be smaller."""
        return self._cut(self.row_groups, [*range(0, self.total, size), self.total], None)

    def shuffled(self, bounds: Sequence[int], generator: torch.Generator) -> Iterator[Batch]:
        """Batches of all rows in random order; `bounds` are the batch boundaries.

        Rows before the first boundary are left out, and their row groups are not read.
        """
        seed = int(torch.randint(2**62, (), generator=generator))
        own = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.row_groups), generator=own).tolist()
        return self._cut([self.row_groups[place] for place in order], bounds, own)

    def take(self, order_T: Tensor) -> "Stream":
        """A subset of the rows, in the order of the files."""
        taken_T = torch.zeros(self.total, dtype=torch.bool)
        taken_T[order_T] = True
        return Stream(self.schema, self.extra, list(self._kept(taken_T)), self.device)

    def cut(self, order_T: Tensor, bounds: Sequence[int]) -> Iterator[Batch]:
        """Batches of few rows in a given order; they are read into memory."""
        if not len(order_T):
            return iter(())
        there = concatenated(list(self.take(order_T)._windows()))
        return there.cut(order_T.argsort().argsort(), bounds)

    def some(self, most: int) -> Batch:
        """Rows of evenly spaced row groups in memory, about `most` of them."""
        step = max(1, round(self.total / most))
        return concatenated(list(Stream(self.schema, self.extra, self.row_groups[::step])._windows()))

    def _column(self, name: str) -> Tensor:
        batches = (batch for row_group in self.row_groups for batch in row_group.read([name]))
        return torch.cat([torch.from_numpy(batch.column(name).to_numpy().copy()) for batch in batches])

    def _kept(self, taken_T: Tensor) -> Iterator[RowGroup]:
        """The row groups, restricted to the rows in the mask."""
        for row_group, taken_N in zip(
            self.row_groups, taken_T.split(list(map(len, self.row_groups))), strict=True
        ):
            if row_group.kept is not None:
                taken_N = row_group.kept.masked_scatter(row_group.kept, taken_N)
            if taken_N.any():
                yield replace(row_group, kept=taken_N)

    def _cut(
        self, row_groups: Sequence[RowGroup], bounds: Sequence[int], shuffling: torch.Generator | None
    ) -> Iterator[Batch]:
        """Batches of the rows of row groups; they may span windows."""
        sizes = iter([stop - start for start, stop in pairwise(bounds)])
        pieces: list[Batch] = []
        missing, start = next(sizes, 0), bounds[0]
        while shuffling is not None and start >= (size := sum(map(len, row_groups[:WINDOW]))) > 0:
            torch.randperm(size, generator=shuffling)
            row_groups, start = row_groups[WINDOW:], start - size
        for window in Stream(self.schema, self.extra, row_groups, self.device)._windows():
            order_N = None
            if shuffling is not None:
                order_N = torch.randperm(len(window), generator=shuffling).to(self.device)
            while start < len(window):
                here = slice(start, min(start + missing, len(window)))
                pieces.append(window[here if order_N is None else order_N[here]])
                missing -= here.stop - start
                start = here.stop
                if not missing:
                    yield concatenated(pieces).widened()
                    pieces, missing = [], next(sizes, 0)
            start = 0

    def _windows(self) -> Iterator[Batch]:
        """Windows of rows on the device; the next one is read in the background."""
        with ThreadPoolExecutor(1, "ctrloom-stream") as reader:
            coming: Future[_Window] | None = None
            for first in range(0, len(self.row_groups), WINDOW):
                ready, coming = coming, reader.submit(self._window, self.row_groups[first : first + WINDOW])
                if ready:
                    yield ready.result().arrived()
            if coming:
                yield coming.result().arrived()

    def _window(self, row_groups: Sequence[RowGroup]) -> "_Window":
        filler = BatchFiller(self.schema, sum(map(len, row_groups)), self.extra, self.device.type == "cuda")
        for batches in map_in_threads(RowGroup.read, row_groups):
            for batch in batches:
                filler.add(batch)
        return _Window.of(filler.batch(), self.device)


@dataclass(frozen=True)
class _Window:
    """Rows that are being copied to a device."""

    rows: Batch
    copied: torch.cuda.Event | None = None

    @classmethod
    def of(cls, rows: Batch, device: torch.device) -> Self:
        """Copy them on a separate CUDA stream."""
        if device.type != "cuda":
            return cls(rows.to(device))
        with torch.cuda.stream(torch.cuda.Stream(device)):
            moved, copied = rows.to(device), torch.cuda.Event()
            copied.record()
        return cls(moved, copied)

    def arrived(self) -> Batch:
        """The rows; later work on the current stream waits for the copy."""
        if self.copied is not None:
            here = torch.cuda.current_stream()
            here.wait_event(self.copied)
            for _, tensor in self.rows.tensors():
                tensor.record_stream(here)
        return self.rows
