"""Maps the columns of a file to the columns of the configuration."""

import csv
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from ctrloom.config import SourceConfig, Timestamp
from ctrloom.data.errors import DataError


@dataclass(frozen=True)
class Layout:
    """Columns of a text file: their number, and the index of each required one."""

    width: int
    column_index: dict[str, int]
    delimiter: str
    quoting: bool = True


def wanted_columns(source: SourceConfig, with_label: bool) -> list[str]:
    """Required columns; label, weight, context and a timestamp without derived fields only `with_label`."""

    def wanted(name: str) -> bool:
        column = source.columns[name]
        if column.kind == "ignored":
            return False
        bare = isinstance(column, Timestamp) and not column.derive
        return with_label or not (bare or column.kind in ("label", "weight", "context"))

    return [name for name in source.columns if wanted(name)]


def check_names(file: str, source: SourceConfig, found: Sequence[str], with_label: bool) -> None:
    """Compare the column names of a file with the configuration.

    Raises:
        DataError: a required column is missing or duplicate, or a column is not in the configuration.
    """
    for name in wanted_columns(source, with_label):
        if name not in found:
            near = difflib.get_close_matches(name, found, n=3, cutoff=0.5) or list(found[:8])
            raise DataError(
                f"{file}: has no column {name!r}; similar names are {', '.join(map(repr, near))}. "
                "Fix `columns`, or set `header: false` if the first line is a row"
            )
        if found.count(name) > 1:
            raise DataError(f"{file}: has {found.count(name)} columns named {name!r}; rename them")
    unnamed = [name for name in found if name not in source.columns]
    if unnamed and source.other_columns == "refuse":
        raise DataError(
            f"{file}: the configuration does not list the column {unnamed[0]!r}"
            f"{f' and {len(unnamed) - 1} more' if len(unnamed) > 1 else ''}; "
            "add it to `columns` (kind `ignored` skips it), or set `other_columns: ignore`"
        )


def delimited(file: str, source: SourceConfig, first_line: bytes, with_label: bool) -> Layout:
    """Layout of a CSV or TSV file, from its first line."""
    delimiter = source.delimiter or ("\t" if source.format == "tsv" else ",")
    try:
        cells = next(csv.reader([first_line.decode()], delimiter=delimiter), [])
    except (UnicodeDecodeError, csv.Error) as error:
        if source.header:
            raise DataError(f"{file}: the header (line 1) cannot be read: {error}") from None
        cells = first_line.decode(errors="replace").split(delimiter)
    if source.header:
        check_names(file, source, cells, with_label)
        names = cells
    else:
        names = ordered_names(source, len(cells), with_label)
    place = {name: names.index(name) for name in wanted_columns(source, with_label)}
    return Layout(len(names), place, delimiter)


def ordered_names(source: SourceConfig, width: int, with_label: bool) -> list[str]:
    """Column names of a file without header that has `width` columns.

    Rows to score may lack the label, the weight, all context columns, or several of these.
    """
    full, optional = list(source.columns), ("label", "weight", "context")
    absent = [] if with_label else [kinds for n in (1, 2, 3) for kinds in combinations(optional, n)]
    for kinds in absent:
        short = [name for name in full if source.columns[name].kind not in kinds]
        if len(short) == width < len(full):
            return short
    return full + [""] * (width - len(full)) if source.other_columns == "ignore" else full


def indexed(source: SourceConfig, first_line: bytes, with_label: bool) -> Layout:
    """Layout of a libsvm or libfm file: the label, then one `index:value` per column in order."""
    label = source.named("label")
    names = [name for name in source.columns if name not in label]
    labelled = with_label or b":" not in first_line.split(b" ", 1)[0]
    names = [*label, *names] if labelled else names
    place = {name: names.index(name) for name in wanted_columns(source, with_label)}
    return Layout(len(names), place, " ", quoting=False)
