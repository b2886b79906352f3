"""Tokens of libsvm and libfm files: `index:value`."""

import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom.config import SourceConfig
from ctrloom.data.sources.blocks import TextBlock
from ctrloom.data.sources.raw import Fault, RawBatch


def trimmed(block: TextBlock) -> TextBlock:
    """The block without spaces at the ends of lines."""
    return replace(block, data=re.sub(rb"[ \t]+(?=\r?\n|\Z)", b"", block.data))


def indices_or_values(batch: RawBatch, source: SourceConfig) -> RawBatch:
    """The batch with the index of each `index:value` token, or the value in numeric columns."""
    columns = dict(batch.columns)
    faults: dict[int, Fault] = {}
    for name, column in batch.columns.items():
        kind = source.columns[name].kind
        if kind == "label":
            continue
        column = column.dictionary_decode()
        pair = pc.extract_regex(column, r"^(?P<index>[^:]+):(?P<value>[^:]+)$")
        columns[name] = pc.struct_field(pair, "index" if kind in ("categorical", "multivalued") else "value")
        for i in np.flatnonzero(pair.is_null().to_numpy(zero_copy_only=False)):
            faults[int(i)] = (f"{name} is not index:value", repr(column[int(i)].as_py()))
        if kind == "numeric":
            faults |= _moved(name, pc.struct_field(pair, "index"))
    return batch.without(columns, faults)


def _moved(name: str, index: pa.Array) -> dict[int, Fault]:
    """Rows in which a number has an unusual index, because zeros were omitted."""
    counts = pc.value_counts(index.drop_null())
    if len(counts) < 2:
        return {}
    usual = counts.field("values")[int(np.argmax(counts.field("counts").to_numpy()))]
    others = np.flatnonzero(pc.fill_null(pc.not_equal(index, usual), False).to_numpy(zero_copy_only=False))
    fault = f"{name} has another index than {usual}; every line must contain all numeric columns"
    return {int(i): (fault, index[int(i)].as_py()) for i in others}
