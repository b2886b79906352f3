"""How often each value of a field occurs, counted while rows are written; later stages start from it.

What is counted of a value: rows of all splits, clicks among them, and rows to train. N values, K = 3 counts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ctrloom.data.coded import coded
from ctrloom.data.manifest import CountedKind, PartFile
from ctrloom.data.parts import GROUP_ROWS, table_writer
from ctrloom.data.threads import in_order
from ctrloom.storage import Place

COUNTS = ("count", "positives", "train")
KINDS: dict[CountedKind, pa.DataType] = {"tokens": pa.string(), "numbers": pa.float64()}
MOST_BYTES = (
    256 << 20
)  # of values and counts in memory; past that they are written, and merged when they are read
_MERGED_BY = 1 << 16  # values of one field that wait at least before they are merged


@dataclass(frozen=True)
class Counted:
    """Values of one field, each of them once, and how often they were seen."""

    values: pa.Array
    counts_NK: NDArray[np.int64]

    @property
    def bytes(self) -> int:
        """What they take in memory."""
        return int(self.values.nbytes) + self.counts_NK.nbytes


def count_values(column: pa.Array, labels: np.ndarray, training: np.ndarray) -> Counted:
    """Count the values of some rows, or what is in their lists; -0.0 is 0.0."""
    kind_N = labels + 2 * training.astype(np.int64)
    if pa.types.is_list(column.type):
        kind_N = np.repeat(kind_N, pc.list_value_length(column).to_numpy())
        column = pc.list_flatten(column)
    column = coded(column.cast(pa.float64()) if pa.types.is_float32(column.type) else column)
    number = len(column.dictionary)
    places = column.indices.fill_null(number).to_numpy()
    seen = np.bincount(places * np.int64(4) + kind_N, minlength=4 * number + 4).reshape(-1, 4)[:number]
    count = seen.sum(1)
    counts_NK = np.stack([count, seen[:, 1] + seen[:, 3], seen[:, 2] + seen[:, 3]], axis=1)
    values = column.dictionary
    if not count.all():
        values, counts_NK = values.filter(pa.array(count > 0)), counts_NK[count > 0]
    if pa.types.is_floating(values.type):
        values = pa.array(values.to_numpy() + 0.0)
    return Counted(values, counts_NK)


def merged(parts: Sequence[Counted]) -> Counted:
    """The values of all, each of them once again, in the order in which they came."""
    if len(parts) == 1 and not pa.types.is_floating(parts[0].values.type):
        return parts[0]
    column = pa.chunked_array([part.values for part in parts]).dictionary_encode()
    places = np.concatenate([chunk.indices.to_numpy() for chunk in column.chunks])
    values = column.chunks[-1].dictionary
    counts_NK = np.concatenate([part.counts_NK for part in parts])
    # Sums of whole numbers in float64 are exact as far as any count of rows goes.
    sums = [np.bincount(places, counts_N, len(values)).astype(np.int64) for counts_N in counts_NK.T]
    return Counted(values, np.stack(sums, axis=1))


@dataclass
class _Field:
    """Values of one field: those that were merged, and those that came since."""

    parts: list[Counted] = field(default_factory=list)
    bytes: int = 0
    waiting: int = 0

    def add(self, part: Counted) -> None:
        if len(part.values):
            self.parts.append(part)
            self.bytes += part.bytes
            self.waiting += len(part.values)
            if self.waiting > max(_MERGED_BY, len(self.parts[0].values)):
                self.merge()

    def merge(self) -> None:
        if self.parts:
            self.parts = [merged(self.parts)]
            self.bytes, self.waiting = self.parts[0].bytes, 0

    def table(self, number: int, kind: pa.DataType) -> pa.Table:
        """Its rows in a file; numbers ascend."""
        self.merge()
        (all_of_it,) = self.parts
        values, counts_NK = all_of_it.values, all_of_it.counts_NK
        if pa.types.is_floating(kind):
            order = np.argsort(values.to_numpy())
            values, counts_NK = values.take(pa.array(order)), counts_NK[order]
        fields = np.full(len(values), number, dtype=np.int32)
        return pa.table([fields, values, *counts_NK.T], schema=counts_schema(kind))


def counts_schema(kind: pa.DataType) -> pa.Schema:
    """Columns of a file of counts."""
    return pa.schema([("field", pa.int32()), ("value", kind), *((name, pa.int64()) for name in COUNTS)])


class CountWriter:
    """Counts fields of one kind, each under its number, into `<base>/counts/<kind>-00000.parquet` and on.

    In a file, each value of a field stands once, and the fields one after the other.
    """

    def __init__(self, base: Place, kind: CountedKind) -> None:
        self.base, self.kind, self.type = base, kind, KINDS[kind]
        self.fields: dict[int, _Field] = {}
        self.files: list[PartFile] = []

    def add(self, counted: Iterable[tuple[int, Counted]]) -> None:
        """Take what was counted of some rows."""
        for number, part in counted:
            self.fields.setdefault(number, _Field()).add(part)
        if sum(each.bytes for each in self.fields.values()) > MOST_BYTES:
            self.finish()

    def finish(self) -> list[PartFile]:
        """Write what is in memory; returns all files."""
        fields = [number for number in sorted(self.fields) if self.fields[number].parts]
        if not fields:
            return self.files
        at = self.base / "counts" / f"{self.kind}-{len(self.files):05d}.parquet"
        tables = in_order(lambda number: self.fields.pop(number).table(number, self.type), fields)
        rows = 0
        with table_writer(at, counts_schema(self.type), ["value"]) as (writer, written):
            for table in tables:
                writer.write_table(table, 4 * GROUP_ROWS)
                rows += len(table)
        self.fields = {}
        self.files.append(PartFile.of(self.base, written, rows))
        return self.files
