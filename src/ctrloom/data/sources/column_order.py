"""Columns of a file without a header: those of the configuration, in its order."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from ctrloom.config import SourceConfig
from ctrloom.data.errors import DataError
from ctrloom.data.sources.dialect import cells, delimiter_advice, dialect_of
from ctrloom.data.sources.header import OPTIONAL
from ctrloom.data.sources.libsvm import check_format


def names_in_order(file: str, source: SourceConfig, sample: Sequence[bytes], with_label: bool) -> list[str]:
    """Column names of a file, from the number of columns of its first records.

    Single records may be damaged: the number that most of them have counts.

    Raises:
        DataError: no possible list of columns has this number, or several have it.
    """
    dialect = dialect_of(source)
    rows = [cells(record, dialect) for record in sample]
    if source.has_indices:
        check_format(file, source, rows, with_label)
        possible = _indexed(source, rows, with_label)
    else:
        possible = _plain(source, with_label)
    full = possible[0]
    if rows[0] in possible:
        advice = "set `header: true`" if with_label else "remove it, as the training data had no header"
        raise DataError(f"{file}: its first line has the names of the columns; {advice}")
    widths, known = Counter(map(len, rows)), {len(names) for names in possible}
    width = max(widths, key=lambda each: (widths[each], each in known))
    if source.other_columns == "ignore" and width > len(full):
        return full + [""] * (width - len(full))
    fitting = [names for names in possible if len(names) == width]
    if len(fitting) == 1:
        return fitting[0]
    raise DataError(f"{file}: {_advice(source, sample, possible, width, with_label)}")


def _plain(source: SourceConfig, with_label: bool) -> list[list[str]]:
    """Possible columns: all; rows to score may lack those of some kinds."""
    kinds = [kind for kind in OPTIONAL if source.named(kind)]
    absent = [each for n in range(1, len(kinds) + 1) for each in combinations(kinds, n)]
    return [
        [name for name, column in source.columns.items() if column.kind not in without]
        for without in [(), *([] if with_label else absent)]
    ]


def _indexed(source: SourceConfig, rows: Sequence[Sequence[str]], with_label: bool) -> list[list[str]]:
    """The label, which rows to score may lack, then the columns that have indices."""
    label = source.named("label")
    names = [name for name in source.columns if name not in label]
    labelled = sum(":" not in "".join(row[:1]) for row in rows) * 2 >= len(rows)
    return [[*label, *names] if with_label or labelled else names]


def _advice(
    source: SourceConfig, sample: Sequence[bytes], possible: list[list[str]], width: int, with_label: bool
) -> str:
    fitting = [names for names in possible if len(names) == width]
    full = possible[0]
    if fitting:
        absent = [f"without {_listed([n for n in full if n not in names])}" for names in fitting]
        return (
            f"has {width} columns and no header, which can be the columns {' or '.join(absent)}; "
            f"write all of them, {_listed(full)}, with empty cells where there is no value"
        )
    known = {len(names) for names in possible}
    if advice := delimiter_advice(sample[0], source, lambda found: len(found) in known, with_label):
        return advice
    counted = f"has {width} columns and no header, but"
    if with_label:
        return (
            f"{counted} `columns` lists {len(full)}; list every column in the order of the file "
            "(kind `ignored` skips one)"
        )
    return (
        f"{counted} the training data has {len(full)}: {_listed(full)}; "
        "only label, weight and context may be absent"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
