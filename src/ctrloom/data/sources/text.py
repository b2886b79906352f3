"""CSV, TSV, libsvm, libfm and libffm files as batches of raw columns."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom.config import SourceConfig
from ctrloom.data.errors import DataError
from ctrloom.data.sources import libsvm
from ctrloom.data.sources.blocks import TextBlock, read_blocks
from ctrloom.data.sources.delimited import split_columns
from ctrloom.data.sources.dialect import dialect_of
from ctrloom.data.sources.layout import Layout, layout_of
from ctrloom.data.sources.raw import Fault, RawBatch
from ctrloom.data.sources.records import Records, split_records

_SAMPLED_BYTES = 64 << 10
_SAMPLED_RECORDS = 100
_EMPTY_LINES = re.compile(rb"(?:\r*\n)*(?:\r*\Z)?")


def read_text(
    path: str, source: SourceConfig, with_label: bool, keep: Sequence[str] = ()
) -> Iterator[Callable[[], RawBatch]]:
    """Batches of one text file, parsed when called; records with a wrong number of columns are `malformed`.

    A record is a line, or several where a quoted field contains line ends. Empty lines are skipped.
    """
    blocks = read_blocks(path, dialect_of(source), source.encoding)
    if source.has_indices:
        blocks = (libsvm.trimmed(block) for block in blocks)
    first = _first_with_text(path, blocks)
    sample = _sampled(first, source)
    if sum(b"\0" in record for record in sample.texts) * 2 > len(sample.texts):
        raise DataError(
            f"{path}: most lines contain NUL bytes; it is damaged, not text, or UTF-16 (`encoding`)"
        )
    layout = layout_of(path, source, sample.texts[:_SAMPLED_RECORDS], with_label, keep)
    if layout.header:
        first = first.after(int(sample.stops[0]))
    for block in chain([first], blocks):
        if block.data:
            yield partial(_parsed, block, layout, source)


def _first_with_text(path: str, blocks: Iterator[TextBlock]) -> TextBlock:
    for block in blocks:
        empty = _EMPTY_LINES.match(block.data)
        if empty is None or empty.end() < len(block.data):
            return block.after(empty.end()) if empty else block
    raise DataError(f"{path}: the file has only empty lines; remove it from `files` or create it again")


def _sampled(block: TextBlock, source: SourceConfig) -> Records:
    """The first records of a file."""
    dialect, size = dialect_of(source), _SAMPLED_BYTES
    while size < len(block.data):
        found = split_records(block.data[: block.data.rfind(b"\n", 0, size) + 1], dialect)
        if len(found.texts) > 1:
            return found
        size *= 4
    return split_records(block.data, dialect)


def _parsed(block: TextBlock, layout: Layout, source: SourceConfig) -> RawBatch:
    batch = _decoded(split_columns(block, layout), source.trim)
    return libsvm.indices_or_values(batch, source) if source.has_indices else batch


def _decoded(batch: RawBatch, trim: bool) -> RawBatch:
    """The batch decoded to text; rows that are not UTF-8 are malformed."""
    columns: dict[str, pa.Array] = {}
    faults: dict[int, Fault] = {}
    for name, column in batch.columns.items():
        try:
            texts = column.dictionary.cast(pa.string())
        except pa.ArrowInvalid:
            readable = [_text_or_none(value) for value in column.dictionary.to_pylist()]
            texts = pa.array(readable, pa.string())
            bad = [text is None for text in readable]
            faults |= {
                int(i): (f"{name} is not UTF-8", None)
                for i in np.flatnonzero(np.array(bad)[column.indices.to_numpy()])
            }
        indices = column.indices
        if trim and not (trimmed := pc.utf8_trim(texts, " ")).equals(texts):
            merged = trimmed.dictionary_encode()
            texts, indices = merged.dictionary, merged.indices.take(indices)
        columns[name] = pa.DictionaryArray.from_arrays(indices, texts, safe=False)
    return batch.without(columns, faults)


def _text_or_none(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
