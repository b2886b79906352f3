"""Tokens of libsvm and libfm files, `index:value`, and of libffm files, `field:index:value`."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom.config import SourceConfig
from ctrloom.data.errors import DataError
from ctrloom.data.sources.blocks import TextBlock
from ctrloom.data.sources.raw import Fault, RawBatch

_SHAPES = {"libsvm": "index:value", "libffm": "field:index:value"}
_PATTERNS = {
    "libsvm": r"^(?P<index>[^:]+):(?P<value>[^:]+)$",
    "libffm": r"^(?P<field>[^:]+):(?P<index>[^:]+):(?P<value>[^:]+)$",
}


def check_format(file: str, source: SourceConfig, rows: Sequence[Sequence[str]], with_label: bool) -> None:
    """Raise DataError if most tokens of `rows` have the shape of the other format."""
    tokens = [token for row in rows for token in row[1:]]
    (other,) = _SHAPES.keys() - {source.format}
    if sum(token.count(":") == _SHAPES[other].count(":") for token in tokens) * 2 > len(tokens):
        advice = (
            f"set `format: {other}`"
            if with_label
            else f"write {_SHAPES[source.format]}, as in the training data"
        )
        raise DataError(f"{file}: is {other} ({_SHAPES[other]}), not {source.format}; {advice}")


def trimmed(block: TextBlock) -> TextBlock:
    """The block without spaces at the ends of lines."""
    return replace(block, data=re.sub(rb"[ \t]+(?=\r?\n|\Z)", b"", block.data))


def indices_or_values(batch: RawBatch, source: SourceConfig) -> RawBatch:
    """The batch with the index of each token, or the value in numeric columns."""
    columns = dict(batch.columns)
    faults: dict[int, Fault] = {}
    for name, column in batch.columns.items():
        if source.columns[name].kind != "label":
            columns[name], found = index_or_value(name, column.dictionary_decode(), source)
            faults = found | faults
    return batch.without(columns, faults)


def index_or_value(name: str, column: pa.Array, source: SourceConfig) -> tuple[pa.Array, dict[int, Fault]]:
    """The index of each token of a column, or the value if it is numeric, and the faults of its rows."""
    kind = source.columns[name].kind
    parts = pc.extract_regex(column, _PATTERNS[source.format])
    faults: dict[int, Fault] = {
        i: (f"{name} is not {_SHAPES[source.format]}", repr(column[i].as_py()))
        for i in np.flatnonzero(parts.is_null().to_numpy(zero_copy_only=False)).tolist()
    }
    if source.format == "libffm":
        faults = _unusual(name, "field", pc.struct_field(parts, "field"), "all columns") | faults
    if kind == "numeric":
        faults = _unusual(name, "index", pc.struct_field(parts, "index"), "all numeric columns") | faults
    return pc.struct_field(parts, "index" if kind in ("categorical", "multivalued") else "value"), faults


def _unusual(name: str, part: str, numbers: pa.Array, every: str) -> dict[int, Fault]:
    """Rows in which a column has an unusual index or field, because columns before it were omitted."""
    counts = pc.value_counts(numbers.drop_null())
    if len(counts) < 2:
        return {}
    usual = counts.field("values")[int(np.argmax(counts.field("counts").to_numpy()))]
    others = np.flatnonzero(pc.fill_null(pc.not_equal(numbers, usual), False).to_numpy(zero_copy_only=False))
    fault = f"{name} has another {part} than {usual}; every line must contain {every}, in the same order"
    return {int(i): (fault, numbers[int(i)].as_py()) for i in others}
