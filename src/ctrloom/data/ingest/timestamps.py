"""Timestamps as whole seconds since 1970 (UTC): from numbers, text, dates and times of a time zone.

N values.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ctrloom.config import Timestamp
from ctrloom.config.base import ConfigError
from ctrloom.config.timestamp import TimestampPart, expanded
from ctrloom.data.ingest.converters import Fault, fault_of, numbers
from ctrloom.data.ingest.tokens import text

FIRST_SECOND, LAST_SECOND = -30_610_224_000, 253_402_300_799  # years 1000 to 9999
_YEAR_1980, _YEAR_2100 = 315_532_800, 4_102_444_800
_PER_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_OF_ARROW = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_PARTS: dict[TimestampPart, Callable[[pa.Array], pa.Array]] = {
    "hour": pc.hour,
    "weekday": pc.day_of_week,
    "day": pc.day,
    "month": pc.month,
}
_NAME = "[A-Za-z]+"
_PATTERNS = {
    **{"%Y": r"\d{4}", "%j": r"\d{1,3}", "%f": r"\d{1,9}", "%%": "%"},
    **{"%b": _NAME, "%a": _NAME, "%A": _NAME, "%p": _NAME},
    "%z": r"[Zz]|[+-]\d{2}(?::?\d{2})?",
}
# Directives of which Arrow's parser accepts too large numbers, which it adds to the next month, year or
# minute; how to read them from the result, and the largest number that it can then be.
_CARRIED = {"%d": (pc.day, 3), "%j": (pc.day_of_year, 366), "%S": (pc.second, 1)}


def seconds(
    column: str, values: pa.Array, config: Timestamp, missing: pa.Array
) -> tuple[pa.Array, list[Fault]]:
    """A timestamp column (int64)."""
    faults, what, limit = list[Fault](), "is not a timestamp", "is not in the years 1000 to 9999"
    valid_N, zone = _plain(values.is_valid()), config.timezone
    if pa.types.is_timestamp(values.type):
        time_N = _plain(values.cast(pa.int64())) // _OF_ARROW[values.type.unit]
        zone = "UTC" if values.type.tz else zone
    elif pa.types.is_date(values.type):
        time_N = _plain(values.cast(pa.date32()).cast(pa.int32())).astype(np.int64) * 86_400
    elif config.format is not None:
        parsed, own_zone = parse(text(values), config.format)
        time_N, valid_N, zone = _plain(parsed), _plain(parsed.is_valid()), own_zone or zone
        what = f"does not fit the format {config.format}"
    else:
        numeric, faults = numbers(column, values, missing)
        faults = [fault._replace(what=f"{fault.what} (set the `format` of text)") for fault in faults]
        exact = numeric
        if pa.types.is_integer(values.type):
            exact = values if pa.types.is_uint64(values.type) else values.cast(pa.int64())
        time_N = np.floor_divide(_plain(exact), _PER_SECOND[config.unit])
        valid_N, zone, limit = (
            _plain(numeric.is_valid()),
            "UTC",
            f"{limit} as {config.unit} since 1970 (see `unit`)",
        )
    faults += fault_of(column, ~valid_N, what)
    beyond_N = (time_N < FIRST_SECOND) | (time_N > LAST_SECOND)
    faults += fault_of(column, beyond_N & valid_N, limit)
    instant_N, exists_N = _instants(np.where(beyond_N, 0, time_N).astype(np.int64), zone)
    faults += fault_of(column, ~exists_N & valid_N, f"is skipped by the clocks of {zone}")
    return pa.array(instant_N), faults


def unit_warning(config: Timestamp, first: int, last: int) -> str | None:
    """A sentence if numbers most likely have another unit, which moves them near 1970 or beyond 2100."""
    early = config.unit != "seconds" and last < _YEAR_1980
    if config.format is not None or not (early or first > _YEAR_2100):
        return None
    dates = [datetime.fromtimestamp(instant, UTC).date() for instant in (first, last)]
    return f"as {config.unit} since 1970, they are from {dates[0]} to {dates[1]}; check `unit`"


def part_of(instants: pa.Array, part: TimestampPart, zone: str) -> pa.Array:
    """Hour, weekday (0 is Monday), day of the month or month, in a time zone, as text."""
    return _PARTS[part](local(instants, zone)).cast(pa.string())


def local(instants: pa.Array, zone: str) -> pa.Array:
    """Dates and times of a zone at instants in seconds."""
    if zone == "UTC":  # needs no database
        return instants.cast(pa.timestamp("s"))
    return pc.local_timestamp(instants.cast(pa.timestamp("s", zone)))


def require_zone(key: str, zone: str) -> None:
    """Raise ConfigError unless this system has the time zone."""
    try:
        local(pa.array([0]), zone)
    except pa.ArrowInvalid:
        raise ConfigError(
            f"{key}: {zone!r} is not in the time zone database of this system; install its package tzdata"
        ) from None


def parse(texts: pa.Array, format: str) -> tuple[pa.Array, str | None]:
    """Parse text strictly: seconds (int64, null if invalid), and their zone if the text determines it."""
    parts = re.findall(r"%.|[^%]+", expanded(format), re.DOTALL)
    native = "".join(part for part in parts if part not in ("%f", "%z"))
    offset_N: NDArray[np.int64] | int = 0
    if len(native) < len("".join(parts)):
        found = pc.extract_regex(texts, _regex(parts, ("%f", "%z")))
        others = [pc.struct_field(found, field.name) for field in found.type if field.name[0] == "t"]
        texts = pc.binary_join_element_wise(*others, "")
        if "%z" in parts:
            offset_N = _offsets(pc.struct_field(found, "z"))
    parsed = pc.strptime(texts, format=native, unit="s", error_is_null=True)
    parsed = _without_carried(texts, native, parsed).cast(pa.int64())
    is_utc = "%z" in parts or re.search(r"%[HMSf]Z", expanded(format)) is not None
    return pc.subtract(parsed, offset_N), "UTC" if is_utc else None


def _instants(time_N: NDArray[np.int64], zone: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The instants of times of a zone, and which times exist; of two equal times in a night, the first."""
    if zone == "UTC":
        return time_N, np.ones(len(time_N), dtype=bool)
    times = pa.array(time_N).cast(pa.timestamp("s"))
    instants = pc.assume_timezone(times, zone, ambiguous="earliest", nonexistent="earliest").cast(pa.int64())
    exists = pc.equal(local(instants, zone), times)
    return instants.to_numpy(), exists.to_numpy(zero_copy_only=False)


def _regex(parts: Sequence[str], captured: Sequence[str]) -> str:
    """A pattern of a format, with a group for each captured directive and groups t0, t1, ... between them."""
    groups, between = list[str](), ""
    for part in [*parts, ""]:
        if part in captured or not part:
            groups += [f"(?P<t{len(groups)}>{between})"] if between else []
            groups += [f"(?P<{part[1]}>{_pattern(part)})"] if part else []
            between = ""
        else:
            between += _pattern(part)
    return f"^{''.join(groups)}$"


def _pattern(part: str) -> str:
    if part[0] == "%":
        return _PATTERNS.get(part, r"\d{1,2}")
    return re.sub(r"(\\?\s)+", r"\\s*", re.escape(part))


def _without_carried(texts: pa.Array, format: str, parsed: pa.Array) -> pa.Array:
    """Null instead of times in which Arrow's parser carried a number that is too large."""
    parts = re.findall(r"%.|[^%]+", format, re.DOTALL)
    for directive, (read, largest) in _CARRIED.items():
        if directive not in parts:
            continue
        found = read(parsed)
        suspect_M = np.flatnonzero(_plain(pc.less_equal(found, largest)))
        if not len(suspect_M):
            continue
        places = pa.array(suspect_M)
        written = pc.struct_field(
            pc.extract_regex(texts.take(places), _regex(parts, [directive])), directive[1]
        )
        same = pc.fill_null(pc.equal(written.cast(pa.int64()), found.take(places)), False)
        carried_N = np.zeros(len(texts), dtype=bool)
        carried_N[suspect_M] = ~_plain(same)
        parsed = pc.if_else(pa.array(carried_N), None, parsed)
    return parsed


def _offsets(texts: pa.Array) -> pa.Array:
    """Seconds east of UTC of offsets such as Z, +0900 and -03:30; null if invalid."""
    encoded = texts.dictionary_encode()
    return pa.array(map(_offset, encoded.dictionary.to_pylist()), pa.int64()).take(encoded.indices)


def _offset(text: str) -> int | None:
    if text in ("Z", "z"):
        return 0
    hours, minutes = int(text[1:3]), int(text[3:].removeprefix(":") or 0)
    seconds = 3600 * hours + 60 * minutes
    return None if hours > 23 or minutes > 59 else -seconds if text[0] == "-" else seconds


def _plain(column: pa.Array) -> NDArray[Any]:
    """The values of a column; 0 instead of null."""
    filled = column.fill_null(False if pa.types.is_boolean(column.type) else 0)
    return np.asarray(filled.to_numpy(zero_copy_only=False))
