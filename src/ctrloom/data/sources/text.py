"""CSV, TSV, libsvm and libfm files as batches of raw columns."""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from ctrloom.config import SourceConfig
from ctrloom.data.arrow.dictionary import encode_chunks
from ctrloom.data.sources.blocks import MAX_LINE_BYTES, TextBlock, pieces, read_blocks
from ctrloom.data.sources.layout import Layout, delimited, indexed
from ctrloom.data.sources.raw import RawBatch

csv.field_size_limit(MAX_LINE_BYTES)  # a field is no longer than its line

Fault = tuple[str, str | None]  # the reason, and the invalid value


def read_text(path: str, source: SourceConfig, with_label: bool) -> Iterator[Callable[[], RawBatch]]:
    """Batches of one text file, parsed when called; lines with a wrong number of columns are `malformed`.

    One line is one row: a quoted field cannot contain a line feed. Empty lines are skipped.
    """
    blocks = read_blocks(path)
    first = _skip_empty(next(blocks))
    line = first.first_line
    if source.format == "libsvm":
        layout = indexed(source, line, with_label)
        blocks = (_trimmed(block) for block in chain([first], blocks))
    else:
        layout = delimited(path, source, line, with_label)
        blocks = chain([first.without_first() if source.header else first], blocks)
    for block in blocks:
        if block.data:
            yield partial(_parsed, block, layout, source)


def _parsed(block: TextBlock, layout: Layout, source: SourceConfig) -> RawBatch:
    batch = _split_columns(block, layout)
    return _libsvm_values(batch, source) if source.format == "libsvm" else _decoded(batch)


def _skip_empty(block: TextBlock) -> TextBlock:
    while block.data.startswith((b"\n", b"\r\n")):
        block = block.without_first()
    return block


def _trimmed(block: TextBlock) -> TextBlock:
    data = re.sub(rb"[ \t]+(?=\r?\n|\Z)", b"", block.data)
    return replace(block, data=data)


def _split_columns(block: TextBlock, layout: Layout) -> RawBatch:
    lines = np.arange(block.first_line_number, block.first_line_number + block.line_count)
    table, reasons = None, dict[int, str]()
    if _is_text(block.data):  # Arrow decodes the rows that it rejects
        table, refused = _parse(block.data, layout)
        reasons = {number - 1: reason for number, reason in refused}
    strays = b"\r" in block.data and block.data.count(b"\r") != block.data.count(b"\r\n")
    if table is None or strays or table.num_rows + len(reasons) != len(lines):
        # Empty lines or stray line ends: check line by line before parsing.
        table, lines, reasons = _parse_line_by_line(block, layout)
    positions = np.delete(np.arange(len(lines)), sorted(reasons))
    batch = RawBatch(
        file=block.file,
        lines=lines,
        columns={name: encode_chunks(table[str(at)]) for name, at in layout.column_index.items()},
        positions=positions,
        stored_bytes=block.stored_bytes,
        text_of=lambda line: block.lines[line - block.first_line_number].decode(errors="backslashreplace"),
    )
    batch.malformed.extend(batch.reject(position, reason) for position, reason in sorted(reasons.items()))
    return batch


def _parse_line_by_line(block: TextBlock, layout: Layout) -> tuple[pa.Table, np.ndarray, dict[int, str]]:
    filled = [i for i, line in enumerate(block.lines) if line]
    lines = np.array(filled, dtype=np.int64) + block.first_line_number
    problems = {at: _line_problem(block.lines[i], layout) for at, i in enumerate(filled)}
    reasons = {at: problem for at, problem in problems.items() if problem}
    sound = [at for at in problems if at not in reasons]
    table, refused = _parse(b"\n".join(block.lines[filled[at]] for at in sound), layout)
    assert table.num_rows + len(refused) == len(sound), "the parser saw other rows than there are lines"
    return table, lines, reasons | {sound[number - 1]: reason for number, reason in refused}


def _line_problem(line: bytes, layout: Layout) -> str | None:
    if b"\r" in line:
        return "has a carriage return within the line"
    if layout.quoting and b'"' in line:
        try:
            list(csv.reader([line.decode("latin-1")], delimiter=layout.delimiter, strict=True))
        except csv.Error as error:
            if "end of data" in str(error):
                return "has a quoted field that does not end on its line"
    if not _is_text(line):
        (cells,) = csv.reader(
            [line.decode("latin-1")],
            delimiter=layout.delimiter,
            quoting=csv.QUOTE_MINIMAL if layout.quoting else csv.QUOTE_NONE,
        )
        if len(cells) != layout.width:
            return _width_problem(len(cells), layout.width)
    return None


def _width_problem(actual: int | None, expected: int | None) -> str:
    return f"has {actual} columns instead of {expected}"


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parse(data: bytes, layout: Layout) -> tuple[pa.Table, list[tuple[int, str]]]:
    """Split rows at the delimiter; also the number (from 1, among all rows) and fault of rejected rows."""
    refused: list[tuple[int, str]] = []
    every, wanted = (
        [str(i) for i in range(layout.width)],
        [str(i) for i in sorted({*layout.column_index.values()})],
    )
    tables, before = [pa.table({name: pa.array([], pa.binary()) for name in wanted})], 0

    def refuse(row: arrow_csv.InvalidRow) -> str:
        reason = _width_problem(row.actual_columns, row.expected_columns)
        refused.append((before + row.number, reason))
        return "skip"

    for piece in pieces(data):
        table = arrow_csv.read_csv(
            pa.BufferReader(piece),
            arrow_csv.ReadOptions(column_names=every, use_threads=False, block_size=len(piece) + 1),
            arrow_csv.ParseOptions(
                delimiter=layout.delimiter,
                quote_char='"' if layout.quoting else False,
                invalid_row_handler=refuse,
            ),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(every, pa.binary()),
                include_columns=wanted,
                strings_can_be_null=False,
            ),
        )
        tables.append(table)
        before = sum(map(len, tables)) + len(refused)
    return pa.concat_tables(tables), refused


def _decoded(batch: RawBatch) -> RawBatch:
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
        columns[name] = pa.DictionaryArray.from_arrays(column.indices, texts, safe=False)
    return _without(batch, columns, faults)


def _text_or_none(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _libsvm_values(batch: RawBatch, source: SourceConfig) -> RawBatch:
    """The batch with the index of each `index:value` token, or the value in numeric columns."""
    batch = _decoded(batch)
    columns = dict(batch.columns)
    faults: dict[int, Fault] = {}
    for name, column in batch.columns.items():
        kind = source.columns[name].kind
        if kind == "label":
            continue
        column = column.dictionary_decode()
        pair = pc.extract_regex(column, r"^(?P<index>[^:]+):(?P<value>.+)$")
        columns[name] = pc.struct_field(pair, "index" if kind in ("categorical", "multivalued") else "value")
        for i in np.flatnonzero(pair.is_null().to_numpy(zero_copy_only=False)):
            faults[int(i)] = (f"{name} is not index:value", repr(column[int(i)].as_py()))
        if kind == "numeric":
            faults |= _moved(name, pc.struct_field(pair, "index"))
    return _without(batch, columns, faults)


def _moved(name: str, index: pa.Array) -> dict[int, Fault]:
    """Rows in which a number has an unusual index, because zeros were omitted."""
    counts = pc.value_counts(index.drop_null())
    if len(counts) < 2:
        return {}
    usual = counts.field("values")[int(np.argmax(counts.field("counts").to_numpy()))]
    others = np.flatnonzero(pc.fill_null(pc.not_equal(index, usual), False).to_numpy(zero_copy_only=False))
    fault = f"{name} has another index than {usual}; every line must contain all numeric columns"
    return {int(i): (fault, index[int(i)].as_py()) for i in others}


def _without(batch: RawBatch, columns: dict[str, pa.Array], faults: dict[int, Fault]) -> RawBatch:
    """The batch with new columns, without the faulty rows."""
    keep = np.ones(len(batch.positions), dtype=bool)
    keep[list(faults)] = False
    if faults:
        columns = {name: column.filter(pa.array(keep)) for name, column in columns.items()}
    malformed = [batch.reject(int(batch.positions[i]), *faults[i]) for i in sorted(faults)]
    return RawBatch(
        batch.file,
        batch.lines,
        columns,
        batch.positions[keep],
        batch.stored_bytes,
        batch.text_of,
        batch.malformed + malformed,
    )
