"""Column names of a file compared with those of the configuration."""

import difflib
from collections.abc import Sequence

from ctrloom.config import SourceConfig, Timestamp
from ctrloom.data.errors import DataError
from ctrloom.data.sources.dialect import cells, delimiter_advice, dialect_of

OPTIONAL = ("label", "weight", "context")  # kinds of columns that rows to score may lack


def wanted_columns(source: SourceConfig, with_label: bool) -> list[str]:
    """Required columns; label, weight, context and a timestamp without derived fields only `with_label`."""

    def wanted(name: str) -> bool:
        column = source.columns[name]
        if column.kind == "ignored":
            return False
        bare = isinstance(column, Timestamp) and not column.derive
        return with_label or not (bare or column.kind in OPTIONAL)

    return [name for name in source.columns if wanted(name)]


def names_in_header(file: str, source: SourceConfig, header: bytes, with_label: bool) -> list[str]:
    """Column names of a text file.

    Raises:
        DataError: see `check_names`.
    """
    try:
        header.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: the header (line 1) cannot be read: {error}") from None
    names, wanted = cells(header, dialect_of(source)), {*wanted_columns(source, with_label)}
    if not wanted <= {*names} and (
        advice := delimiter_advice(header, source, lambda found: len(wanted & {*found}), with_label)
    ):
        raise DataError(f"{file}: {advice}")
    check_names(file, source, names, with_label)
    return names


def check_names(file: str, source: SourceConfig, found: Sequence[str], with_label: bool) -> None:
    """Compare the column names of a file with the configuration.

    Raises:
        DataError: a required column is missing or duplicate, or a column is not in the configuration.
    """
    for name in wanted_columns(source, with_label):
        if name not in found:
            near = difflib.get_close_matches(name, found, n=3, cutoff=0.5) or list(found[:8])
            advice = (
                "Fix `columns`, or set `header: false` if the first line is a row"
                if with_label
                else "Rows to score need the columns of the training data, and its header if it had one"
            )
            raise DataError(
                f"{file}: has no column {name!r}; similar names are {', '.join(map(repr, near))}. {advice}"
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
