"""Records of delimited text: a line each, or several lines where a quoted field contains line ends.

A quote at the beginning of a field opens it. The next quote that is not doubled closes it, if the field ends
there. If another field begins there instead, the first quote is taken for an error of its line, so that it
does not swallow the rows up to the next quote.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ctrloom.data.sources.dialect import Dialect

NOT_CLOSED = "has a quoted field that does not end on its line"
NOT_DOUBLED = "has a quote within a quoted field that is not doubled"
_LOOKED_AT = 1000  # quotes
_FEED, _RETURN, _QUOTE, _SPACE = b"\n", b"\r", b'"', b" "


@dataclass(frozen=True)
class Records:
    """The records of whole lines, without empty ones."""

    data: bytes
    starts: NDArray[np.int64]  # of each record in `data`
    stops: NDArray[np.int64]
    lines: NDArray[np.int64]  # first line of each record, from 0
    spans: NDArray[np.int64]  # number of its lines
    problems: dict[int, str]  # record -> what is wrong with its quotes

    @cached_property
    def texts(self) -> list[bytes]:
        """The records without line ends."""
        bounds = zip(self.starts.tolist(), self.stops.tolist(), strict=True)
        return [self.data[start:stop].removesuffix(_FEED).rstrip(_RETURN) for start, stop in bounds]


def split_records(data: bytes, dialect: Dialect) -> Records:
    """Find the records of `data`, which begins with a record."""
    codes = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(codes == _FEED[0]) + 1
    if data and not data.endswith(_FEED):
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)[: len(ends)]
    continues, faults = np.zeros(len(starts), dtype=bool), dict[int, str]()
    if dialect.quoting:
        for first, last, fault in _quoted_lines(data, starts, dialect):
            continues[first + 1 : last + 1] = True
            if fault:
                faults[first] = fault
    lines = np.flatnonzero(~continues)
    starts, stops = starts[lines], np.append(starts[lines[1:]], len(data))[: len(lines)]
    empty = (stops - starts == 1) & (codes[starts] == _FEED[0])
    for at in np.flatnonzero(codes[starts] == _RETURN[0]):
        empty[at] = not data[starts[at] : stops[at]].strip(b"\r\n")
    spans = np.diff(np.append(lines, len(ends)))
    kept = np.flatnonzero(~empty)
    place = {int(line): at for at, line in enumerate(lines[kept])} if faults else {}
    problems = dict[int, str]()
    for line, fault in faults.items():
        record = int(lines[np.searchsorted(lines, line, "right") - 1])
        problems.setdefault(place[record], fault)
    return Records(data, starts[kept], stops[kept], lines[kept], spans[kept], problems)


def _quoted_lines(
    data: bytes, starts: NDArray[np.int64], dialect: Dialect
) -> Iterator[tuple[int, int, str | None]]:
    """First and last line of each quoted field that contains line ends, or is faulty, and the fault."""
    field = re.compile(_begins_field(dialect) + rb'"([^"]*+(?:""[^"]*+)*+)("|\Z)')
    line_starts = starts.tolist()

    def line_at(position: int) -> int:
        return bisect_right(line_starts, position) - 1

    position = 0
    while match := field.search(data, position):
        position = match.end()
        closing = match.start(2)
        closed = match[2] and _ends_before(data, closing + 1, dialect)
        if match[2] and data.find(_FEED, match.start(), closing) < 0:
            continue
        first, last = line_at(match.start()), line_at(closing)
        if closed:
            yield first, last, None
        elif match[2] and not _begins_at(data, closing, dialect):
            yield first, last, NOT_DOUBLED
            position = (*line_starts[last + 1 : last + 2], len(data))[0]
        else:
            yield first, first, NOT_CLOSED
            position = (*line_starts[first + 1 : first + 2], len(data))[0]


def whole_records(data: bytes, dialect: Dialect, start: int = 0, stop: int | None = None) -> int:
    """End of the last record that is whole in `data[start:stop]`, which are lines that begin with a record.

    Looks at the last quotes only, as these nearly always decide whether a quoted field is still open.
    """
    stop = len(data) if stop is None else stop
    while dialect.quoting and (quote := _open_quote(data, dialect, start, stop)) >= 0:
        stop = data.rfind(_FEED, start, quote) + 1 or start
    return stop


def _open_quote(data: bytes, dialect: Dialect, start: int, stop: int) -> int:
    """Position of the quote that opens a field which is not closed before `stop`; -1 if there is none."""
    toggles, nearest, looked_at = 0, -1, 0
    while (last := data.rfind(_QUOTE, start, stop)) >= 0:
        first = last
        while first > start and data[first - 1 : first] == _QUOTE:
            first -= 1
        odd = (last - first) % 2 == 0  # doubled quotes change nothing
        begins_field = _begins_at(data, first, dialect, start)
        ends_field = _ends_before(data, last + 1, dialect)
        if odd and not begins_field:  # closes a field, or is in one that has no quotes
            return nearest if toggles % 2 else -1
        if odd and not ends_field:  # opens a field
            return -1 if toggles % 2 else max(nearest, first)
        if odd:  # opens or closes a field, depending on what precedes it
            toggles += 1
            nearest = max(nearest, first)
        stop, looked_at = first, looked_at + 1
        if looked_at == _LOOKED_AT and data.count(_QUOTE, start, stop) % 2 == 0:
            break
    return nearest if toggles % 2 else -1


def _begins_field(dialect: Dialect) -> bytes:
    """Expression for the beginning of a field."""
    spaces = rb" *+" if dialect.trim else b""
    return rb"(?:\A|(?<=[" + re.escape(dialect.delimiter.encode()) + rb"\n]))" + spaces


def _begins_at(data: bytes, position: int, dialect: Dialect, start: int = 0) -> bool:
    """True if a field of `data[start:]` begins at `position`."""
    while dialect.trim and position > start and data[position - 1 : position] == _SPACE:
        position -= 1
    return position == start or data[position - 1 : position] in (dialect.delimiter.encode(), _FEED)


def _ends_before(data: bytes, position: int, dialect: Dialect) -> bool:
    """True if a field ends before `position`."""
    while dialect.trim and data[position : position + 1] == _SPACE:
        position += 1
    return data[position : position + 1] in (dialect.delimiter.encode(), _RETURN, _FEED, b"")


def without_outer_spaces(data: bytes, dialect: Dialect) -> bytes:
    """The data without spaces around quoted fields."""
    field = _begins_field(dialect) + rb'("[^"]*+(?:""[^"]*+)*+") *+'
    return re.sub(field, rb"\1", data)
