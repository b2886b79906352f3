"""Column names of a file compared with those of the configuration."""

import difflib
import re
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


def names_in_header(
    file: str, source: SourceConfig, header: bytes, with_label: bool, keep: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Column names of a text file, and notes.

    Raises:
        DataError: see `check_names`.
    """
    try:
        header.decode()
    except UnicodeDecodeError as error:
        advice = "set `encoding`, for example latin-1" if with_label else "write it in UTF-8"
        raise DataError(f"{file}: the header cannot be read as UTF-8 ({error.reason}); {advice}") from None
    names, wanted = cells(header, dialect_of(source)), {*wanted_columns(source, with_label)}
    if not wanted <= {*names}:
        if re.match(rb'\s*(\{\s*"|\[\s*[\[{])', header):
            raise DataError(f"{file}: is JSON; write its rows as Parquet or CSV")
        if wanted <= {name.strip() for name in names}:
            advice = "set `trim: true`" if with_label else "remove them, also around values"
            raise DataError(f"{file}: the names of columns have spaces around them; {advice}")

        def fitting(found: list[str]) -> int:
            count = len(wanted & {*found})
            return count if count >= min(2, len(wanted)) else 0

        if advice := delimiter_advice(header, source, fitting, with_label):
            raise DataError(f"{file}: {advice}")
    return names, check_names(file, source, names, with_label, keep)


def check_names(
    file: str, source: SourceConfig, found: Sequence[str], with_label: bool, keep: Sequence[str] = ()
) -> list[str]:
    """Compare the column names of a file with the configuration; notes which are neither read nor in `keep`.

    Raises:
        DataError: a required column is missing or duplicate, or (`with_label`) the configuration lacks one.
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
    unnamed = [name for name in found if name not in source.columns and name not in keep]
    if not unnamed or source.other_columns == "ignore":
        return []
    columns = _columns(unnamed)
    if not with_label:
        return [f"ignoring the {columns}, which the training data did not have"]
    raise DataError(
        f"{file}: the configuration does not list the {columns}; "
        "add it to `columns` (kind `ignored` skips it), or set `other_columns: ignore`"
    )


def _columns(names: Sequence[str]) -> str:
    first = f"column {names[0]!r}" if names[0] else "column without a name"
    return f"{first} and {len(names) - 1} more" if len(names) > 1 else first
