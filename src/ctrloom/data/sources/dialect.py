"""How a record of delimited text is divided into fields."""

import csv
import io
import json
from collections.abc import Callable
from typing import NamedTuple

from ctrloom.config import SourceConfig

csv.field_size_limit(1 << 30)
_DELIMITERS = ",;\t| :\x01"


class Dialect(NamedTuple):
    """How a record is divided into fields."""

    delimiter: str
    quoting: bool = True
    trim: bool = False  # spaces around fields do not belong to them


def dialect_of(source: SourceConfig) -> Dialect:
    """The dialect of a text format."""
    if source.has_indices:
        return Dialect(" ", quoting=False)
    delimiter = source.delimiter or ("\t" if source.format == "tsv" else ",")
    return Dialect(delimiter, source.quoting, source.trim)


def cells(record: bytes, dialect: Dialect) -> list[str]:
    """The fields of one record; bytes that are not UTF-8 are replaced."""
    text = io.StringIO(record.decode(errors="replace"), newline="")
    reader = csv.reader(
        text,
        delimiter=dialect.delimiter,
        quoting=csv.QUOTE_MINIMAL if dialect.quoting else csv.QUOTE_NONE,
        skipinitialspace=dialect.trim,
    )
    found = next(reader, [])
    return [cell.strip(" ") for cell in found] if dialect.trim else found


def delimiter_advice(
    record: bytes, source: SourceConfig, fitting: Callable[[list[str]], int], with_label: bool
) -> str:
    """What to do if another delimiter divides `record` into more fitting fields; empty if none does."""
    given = dialect_of(source)
    others = [given._replace(delimiter=each) for each in _DELIMITERS if each != given.delimiter]
    best = max(others, key=lambda other: fitting(cells(record, other)))
    if fitting(cells(record, best)) <= fitting(cells(record, given)):
        return ""
    found, expected = json.dumps(best.delimiter), json.dumps(given.delimiter)
    if with_label:
        return f"its columns are separated by {found}, not {expected}; set `delimiter: {found}`"
    return f"its columns are separated by {found}; separate them by {expected}, as in the training data"
