"""Where the columns of the configuration are in a text file."""

from collections.abc import Sequence
from dataclasses import dataclass

from ctrloom.config import SourceConfig
from ctrloom.data.sources.column_order import names_in_order
from ctrloom.data.sources.dialect import Dialect, dialect_of
from ctrloom.data.sources.header import names_in_header, wanted_columns
from ctrloom.data.sources.kept import require_kept
from ctrloom.data.sources.records import without_outer_spaces


@dataclass(frozen=True)
class Layout:
    """Columns of a text file: their number, and the index of each required one."""

    width: int
    column_index: dict[str, int]
    dialect: Dialect
    kept_index: dict[str, int]  # of columns to pass through
    header: bytes = b""  # the record with the names; empty if there is none
    notes: tuple[str, ...] = ()  # about the file, for the user


def layout_of(
    file: str, source: SourceConfig, sample: Sequence[bytes], with_label: bool, keep: Sequence[str] = ()
) -> Layout:
    """Layout of a text file, from its first records.

    Raises:
        DataError: the names or the number of columns are not those of the configuration.
    """
    header, notes = b"", list[str]()
    if source.header and not source.has_indices:
        header = sample[0]
        names, notes = names_in_header(file, source, header, with_label, keep)
        header = without_outer_spaces(header, dialect_of(source)) if source.trim else header
    else:
        names = names_in_order(file, source, sample, with_label)
    require_kept(file, names, keep)
    place = {name: names.index(name) for name in wanted_columns(source, with_label)}
    kept = {name: names.index(name) for name in keep}
    return Layout(len(names), place, dialect_of(source), kept, header, tuple(notes))
