"""Raw rows of a file, before they are cast."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa

Fault = tuple[str, str | None]  # the reason, and the invalid value
TEXT_LIMIT = 500  # stored characters of a malformed row
VALUE_LIMIT = 100  # and of the invalid value


@dataclass(frozen=True)
class Malformed:
    """A malformed row and the reason."""

    position: int  # among all rows read, including malformed ones, from 0
    file: str
    line: int  # of a text file; row of a Parquet file; from 1
    fault: str  # without the value, so that faults can be counted
    value: str | None
    text: str

    @property
    def reason(self) -> str:
        """The fault with the invalid value."""
        return self.fault if self.value is None else f"{self.fault}: {self.value}"

    @property
    def described(self) -> str:
        """The place of the row with the reason."""
        return f"{self.file}, line {self.line}: {self.reason}"


@dataclass(frozen=True)
class RawBatch:
    """Some rows of one file.

    `columns` has only rows that could be split, dictionary-encoded for text files; `positions[i]` is the
    number of its row i in the batch, from 0. The other rows are in `malformed`, with their numbers there.
    `kept` has the columns to pass through with all rows, null where a row could not be split.
    """

    file: str
    lines: np.ndarray  # int64, line of each row
    columns: dict[str, pa.Array]
    positions: np.ndarray  # int64
    stored_bytes: int  # read from storage for this batch
    text_of: Callable[[int], str]  # position in the batch -> text of the row
    malformed: list[Malformed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # about the file, for the user
    kept: pa.RecordBatch | None = None

    def reject(self, position: int, fault: str, value: str | None = None) -> Malformed:
        """Describe the row at `position` of the batch as malformed."""
        line = int(self.lines[position])
        shown = value if value is None or len(value) <= VALUE_LIMIT else value[:VALUE_LIMIT] + "..."
        return Malformed(position, self.file, line, fault, shown, self.text_of(position)[:TEXT_LIMIT])

    def without(self, columns: dict[str, pa.Array], faults: dict[int, Fault]) -> Self:
        """The batch with new columns, without the faulty rows, which are indices into `columns`."""
        keep = np.ones(len(self.positions), dtype=bool)
        keep[list(faults)] = False
        if faults:
            columns = {name: column.filter(pa.array(keep)) for name, column in columns.items()}
        malformed = [self.reject(int(self.positions[i]), *faults[i]) for i in sorted(faults)]
        return replace(
            self, columns=columns, positions=self.positions[keep], malformed=self.malformed + malformed
        )


def python_value(scalar: pa.Scalar) -> Any:
    """The value of a cell; of a time that Python does not have, its number."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError:  # text of a damaged file
        return scalar.as_buffer().to_pybytes().decode(errors="backslashreplace")
    except (OverflowError, ValueError):
        return scalar.cast(pa.int64()).as_py()
