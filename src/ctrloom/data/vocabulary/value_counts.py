"""Value counts of fields, computed during ingest and used by later stages.

The counts of a value are: rows of all splits, clicks among them, and training rows. N values, K = 3 counts.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ctrloom.data.arrow.dictionary import dictionary_encode, encode_chunks, is_dictionary
from ctrloom.data.arrow.take import filled, taken, those, valid
from ctrloom.data.manifest import CountedKind
from ctrloom.data.parquet.reader import group_spans
from ctrloom.data.parquet.writer import GROUP_ROWS, table_writer
from ctrloom.storage import Place, Written

COUNTS = ("count", "positives", "train")
ROWS = 4 * GROUP_ROWS  # per row group of counts
MERGING = 12  # bytes per value
KINDS: dict[CountedKind, pa.DataType] = {"tokens": pa.string(), "numbers": pa.float64()}


@dataclass(frozen=True)
class Counted:
    """Unique values of one field and their counts."""

    values: pa.Array
    counts_NK: NDArray[np.integer[Any]]  # the smallest sufficient type, as there are many

    @property
    def bytes(self) -> int:
        """Their memory, including that of a merge: indices and sums take more than counts."""
        return int(self.values.nbytes) + max(self.counts_NK.nbytes, MERGING * len(self.values))


def kinds(labels: np.ndarray, training: np.ndarray) -> NDArray[np.int64]:
    """Row categories of `count_values`: click or not, training or not."""
    return labels + 2 * training.astype(np.int64)


def count_values(column: pa.Array, kind_N: NDArray[np.int64]) -> Counted:
    """Count the values of some rows, or of their lists; -0.0 counts as 0.0."""
    if pa.types.is_list(column.type):
        kind_N = np.repeat(kind_N, pc.list_value_length(column).to_numpy())
        column = pc.list_flatten(column)
    column = column.cast(pa.float64()) if pa.types.is_float32(column.type) else column
    column = column if is_dictionary(column.type) else dictionary_encode(column)
    number = len(column.dictionary)
    places_N = kind_N * (number + 1)  # offset of the counters of each kind; the last counter is for null
    places_N += filled(column.indices, number)
    seen = np.bincount(places_N, minlength=4 * (number + 1)).reshape(4, -1)
    no, yes, no_train, yes_train = seen[:, :number]
    count = no + yes + no_train + yes_train
    counts_NK = _stacked([count, yes + yes_train, no_train + yes_train])
    values = column.dictionary
    seen_N = valid(values) & (count > 0)
    values, counts_NK = those(values, seen_N), those(counts_NK, seen_N)
    if pa.types.is_floating(values.type):
        values = pa.array(values.to_numpy() + 0.0)
    return Counted(values, counts_NK)


def merged(parts: Sequence[Counted]) -> Counted:
    """Merge counts; values are unique again."""
    if len(parts) == 1 and not pa.types.is_floating(parts[0].values.type):
        return parts[0]
    column = encode_chunks(pa.chunked_array([part.values for part in parts]))
    places_N, values = column.indices.to_numpy().astype(np.intp), column.dictionary
    counts_NK = np.concatenate([part.counts_NK for part in parts])
    # Sums of integers in float64 are exact up to 2**53 rows.
    sums = [np.bincount(places_N, counts_N, len(values)) for counts_N in counts_NK.T]
    return Counted(values, _stacked(sums))


def _stacked(counts: Sequence[np.ndarray]) -> NDArray[np.integer[Any]]:
    least = np.min_scalar_type(int(counts[0].max(initial=0)))  # the first is the count of all rows
    return np.stack(counts, axis=1, dtype=least, casting="unsafe")


def counts_schema(kind: pa.DataType) -> pa.Schema:
    """Columns of a file of counts."""
    columns = {"field": pa.int32(), "value": kind, **dict.fromkeys(COUNTS, pa.int64())}
    return pa.schema([pa.field(name, type, nullable=False) for name, type in columns.items()])


def table_of(number: int, whole: Counted) -> pa.Table:
    """The counts of the field with index `number`, in the format of a file.

    Numbers are ascending. Tokens are sorted by the power of two of their counts, the most frequent first, so
    that frequent tokens can be read without the others.
    """
    values, counts_NK = whole.values, whole.counts_NK
    order_N: NDArray[np.int64]
    if pa.types.is_floating(values.type):
        order_N = np.argsort(values.to_numpy())
    else:
        power_N = np.frexp(counts_NK[:, 0])[1]
        order_N = np.argsort(-power_N.astype(np.int8), kind="stable")
    fields = np.full(len(values), number, dtype=np.int32)
    counts = [counts_N[order_N].astype(np.int64) for counts_N in counts_NK.T]
    return pa.table([fields, taken(values, pa.array(order_N)), *counts], schema=counts_schema(values.type))


@contextmanager
def counts_writer(at: Place, kind: CountedKind) -> Iterator[tuple[Callable[[pa.Table], None], Written]]:
    """Writes a file of counts one table at a time; each table must contain one field.

    Each row group therefore holds one field; the minimum of the column `field` is its index.
    """
    with table_writer(at, counts_schema(KINDS[kind]), unlike=["value"], ranges=["field"]) as (
        writer,
        written,
    ):
        yield lambda table: writer.write_table(table, ROWS), written


def field_of(footer: pq.FileMetaData, group: int) -> int:
    """The field index of a row group of a file of counts."""
    return int(footer.row_group(group).column(0).statistics.min)


def field_spans(footer: pq.FileMetaData) -> dict[int, range]:
    """The rows of each field in a file of counts."""
    spans: dict[int, range] = {}
    for group, rows in enumerate(group_spans(footer)):
        number = field_of(footer, group)
        spans[number] = range(spans.get(number, rows).start, rows.stop)
    return spans
