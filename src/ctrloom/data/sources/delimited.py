"""Splits blocks of text into raw columns; records that cannot be split are malformed."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from ctrloom.data.arrow.dictionary import encode_chunks
from ctrloom.data.sources.blocks import BOM, TextBlock, pieces
from ctrloom.data.sources.dialect import cells
from ctrloom.data.sources.kept import as_text, spread
from ctrloom.data.sources.layout import Layout
from ctrloom.data.sources.raw import RawBatch
from ctrloom.data.sources.records import Records, split_records, whole_records, without_outer_spaces

LONG_RECORD = 100  # lines; a longer one is probably due to a missing quote


def split_columns(block: TextBlock, layout: Layout) -> RawBatch:
    """The columns of a block as bytes."""
    if layout.dialect.trim and layout.dialect.quoting and b'"' in block.data:
        block = replace(block, data=without_outer_spaces(block.data, layout.dialect))
    exceptions = _has_exceptions(block.data, layout)
    if not exceptions and whole_records(block.data, layout.dialect) == len(block.data):
        table, reasons = _parse(block.data, layout)
        if table.num_rows + len(reasons) == block.line_count:  # otherwise there are lines that are no records
            lines = np.arange(block.first_line_number, block.first_line_number + block.line_count)
            return _batch(block, layout, table, lines, reasons, lambda position: block.lines[position])
    records = split_records(block.data, layout.dialect)
    table, reasons = _parse_by_record(records, layout, exceptions)
    lines = records.lines + block.first_line_number
    batch = _batch(block, layout, table, lines, reasons, lambda position: records.texts[position])
    batch.notes.extend(_long_record(records, lines))
    return batch


def _batch(
    block: TextBlock,
    layout: Layout,
    table: pa.Table,
    lines: np.ndarray,
    reasons: dict[int, str],
    bytes_at: Callable[[int], bytes],
) -> RawBatch:
    positions = np.delete(np.arange(len(lines)), sorted(reasons))
    kept = {name: as_text(table[str(at)]) for name, at in layout.kept_index.items()}
    batch = RawBatch(
        file=block.file,
        lines=lines,
        columns={name: encode_chunks(table[str(at)]) for name, at in layout.column_index.items()},
        positions=positions,
        stored_bytes=block.stored_bytes,
        text_of=lambda position: bytes_at(position).decode(errors="backslashreplace"),
        kept=spread(kept, positions, len(lines)) if kept else None,
    )
    batch.notes.extend(layout.notes)
    batch.malformed.extend(batch.reject(position, reason) for position, reason in sorted(reasons.items()))
    return batch


def _has_exceptions(data: bytes, layout: Layout) -> bool:
    """True if `_problem` may find something."""
    return (
        not is_text(data)  # Arrow decodes the rows that it rejects
        or b"\0" in data
        or (b"\r" in data and data.count(b"\r") != data.count(b"\r\n"))
        or (BOM[:1] in data and _has_line(data, BOM))
        or (bool(layout.header) and _has_line(data, layout.header))
    )


def _has_line(data: bytes, beginning: bytes) -> bool:
    return data.startswith(beginning) or b"\n" + beginning in data


def _parse_by_record(records: Records, layout: Layout, exceptions: bool) -> tuple[pa.Table, dict[int, str]]:
    reasons = dict(records.problems)
    for at, record in enumerate(records.texts if exceptions else ()):
        if at not in reasons and (problem := _problem(record, layout)):
            reasons[at] = problem
    sound = [at for at in range(len(records.texts)) if at not in reasons]
    table, refused = _parse(b"".join(records.texts[at] + b"\n" for at in sound), layout)
    assert table.num_rows + len(refused) == len(sound), "the parser saw other rows than there are records"
    return table, reasons | {sound[at]: reason for at, reason in refused.items()}


def _problem(record: bytes, layout: Layout) -> str | None:
    if layout.header and record.removeprefix(BOM) == layout.header:
        return "repeats the header"
    if record.startswith(BOM):
        return "begins with a byte order mark, as if files had been joined"
    if b"\0" in record:
        return "contains a NUL byte"
    if b"\r" in record.replace(b"\r\n", b""):
        return "has a carriage return within the line"
    if not is_text(record) and (width := len(cells(record, layout.dialect))) != layout.width:
        return _width_problem(width, layout.width)
    return None


def _long_record(records: Records, lines: np.ndarray) -> list[str]:
    if not len(lines) or records.spans.max() <= LONG_RECORD:
        return []
    at = int(records.spans.argmax())
    row = f"line {lines[at]} begins a row of {records.spans[at]:,} lines"
    return [f"{row}; if that is wrong, a quote is missing there"]


def _width_problem(actual: int | None, expected: int | None) -> str:
    return f"has {actual} columns instead of {expected}"


def is_text(data: bytes) -> bool:
    """True for UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parse(data: bytes, layout: Layout) -> tuple[pa.Table, dict[int, str]]:
    """Split rows at the delimiter; also the position (among all rows) and fault of rejected rows."""
    refused = dict[int, str]()
    every = [str(i) for i in range(layout.width)]
    wanted = [str(i) for i in sorted({*layout.column_index.values(), *layout.kept_index.values()})]
    tables, before = [pa.table({name: pa.array([], pa.binary()) for name in wanted})], 0

    def refuse(row: arrow_csv.InvalidRow) -> str:
        refused[before + row.number - 1] = _width_problem(row.actual_columns, row.expected_columns)
        return "skip"

    for piece in pieces(data, layout.dialect):
        table = arrow_csv.read_csv(
            pa.BufferReader(piece),
            arrow_csv.ReadOptions(column_names=every, use_threads=False, block_size=len(piece) + 1),
            arrow_csv.ParseOptions(
                delimiter=layout.dialect.delimiter,
                quote_char='"' if layout.dialect.quoting else False,
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
