"""Raw rows of a file, before they are cast."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

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


@dataclass(frozen=True)
class RawBatch:
    """Some rows of one file.

    `columns` has only rows that could be split, dictionary-encoded for text files; `positions[i]` is the
    number of its row i in the batch, from 0. The other rows are in `malformed`, with their numbers there.
    """

    file: str
    lines: np.ndarray  # int64, line of each row
    columns: dict[str, pa.Array]
    positions: np.ndarray  # int64
    stored_bytes: int  # read from storage for this batch
    text_of: Callable[[int], str]  # line -> its text
    malformed: list[Malformed] = field(default_factory=list)

    def reject(self, position: int, fault: str, value: str | None = None) -> Malformed:
        """Describe the row at `position` of the batch as malformed."""
        line = int(self.lines[position])
        shown = value if value is None or len(value) <= VALUE_LIMIT else value[:VALUE_LIMIT] + "..."
        return Malformed(position, self.file, line, fault, shown, self.text_of(line)[:TEXT_LIMIT])
