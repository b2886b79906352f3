"""Source readers: files of all supported formats as batches of raw columns."""

from collections.abc import Callable, Iterator, Sequence

from ctrloom.config import SourceConfig
from ctrloom.data.sources.parquet import read_parquet
from ctrloom.data.sources.raw import RawBatch
from ctrloom.data.sources.text import read_text


def read_raw(
    path: str, source: SourceConfig, with_label: bool = True, keep: Sequence[str] = ()
) -> Iterator[Callable[[], RawBatch]]:
    """Yields one function per block of a file or URL; calling it parses the block, so that threads can.

    Without `with_label`, label and weight are not read and may be absent. `keep` are columns of the file to
    pass through as they are.

    Raises:
        DataError: the file is empty, cannot be read, or lacks a column.
    """
    return (read_parquet if source.format == "parquet" else read_text)(path, source, with_label, keep)
