"""Code that runs on Spark executors. They import this module, so it has few imports."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import pyarrow as pa

from ctrloom.data.parquet.reader import PartReader
from ctrloom.progress import Advance
from ctrloom.storage import Place

Item = TypeVar("Item")
Done = TypeVar("Done")


def schema(file: Place) -> pa.Schema:
    """Arrow schema of a Parquet file."""
    return PartReader(file).footer.schema.to_arrow_schema()


def read(files: Sequence[Place], numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Rows of the files whose indices are in the column `id`.

    Raises:
        DataError: a file cannot be read.
    """
    for number in (number for batch in numbers for number in batch.column("id").to_pylist()):
        yield from PartReader(files[number]).rows()


def packed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Serialise each batch into one row of bytes."""
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        yield pa.RecordBatch.from_arrays([pa.array([sink.getvalue().to_pybytes()])], ["packed"])


def done(work: Callable[[Sequence[Item], Advance], list[Done]], counter: Any, item: Item) -> Done:
    """The result of one item; its progress is added to `counter`."""
    (result,) = work([item], lambda amount, note="": counter.add(amount))
    return result
