"""Raw columns to typed ones, a whole column at a time."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LAST_SECOND = 253_402_300_799  # of the year 9999; larger numbers are not seconds
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"

Part = Literal["hour", "weekday", "day", "month"]
_PARTS = {"hour": pc.hour, "weekday": pc.day_of_week, "day": pc.day, "month": pc.month}


@dataclass(frozen=True)
class Problem:
    """Rows of a column that cannot be used: a mask (None: there are none) and what is wrong with them."""

    column: str
    mask: np.ndarray | None = None
    fault: str = ""

    def __post_init__(self) -> None:
        if self.mask is not None and not self.mask.any():
            object.__setattr__(self, "mask", None)

    def or_null(self, values: pa.Array, fault: str) -> "Problem":
        """This problem, or where a value is null that one."""
        if self.mask is not None or not values.null_count:
            return self if self.mask is None else Problem(self.column, self.mask | _null(values), self.fault)
        return Problem(self.column, _null(values), fault)


def _null(values: pa.Array) -> np.ndarray:
    return np.asarray(values.is_null().to_numpy(zero_copy_only=False))


def text(values: pa.Array) -> pa.Array:
    """Any column as text; whole numbers without a decimal point."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_floating(values.type):
        whole = pc.and_(pc.equal(values, pc.floor(values)), pc.less(pc.abs(values), 2.0**53))
        as_whole = pc.if_else(whole, values, None).cast(pa.int64()).cast(pa.string())
        return pc.coalesce(as_whole, values.cast(pa.string()))
    return values.cast(pa.string())


def tokens(values: pa.Array, missing: pa.Array) -> pa.Array:
    """A categorical column: text, null where there is no value."""
    values = text(values)
    return pc.if_else(pc.is_in(values, missing), None, values)


def numbers(column: str, values: pa.Array, missing: pa.Array) -> tuple[pa.Array, Problem]:
    """A column of finite numbers (float64), null where there is no value."""
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        given = pc.if_else(pc.is_in(text(values), missing), None, values)
        return _finite(column, given.cast(pa.float64(), safe=False), None)
    given = pc.if_else(pc.is_in(values, missing), None, values)
    try:
        return _finite(column, given.cast(pa.float64()), None)
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(given)
        fits = pc.fill_null(pc.match_substring_regex(trimmed, _NUMBER), True)
        bad = ~fits.to_numpy(zero_copy_only=False)
        return _finite(column, pc.if_else(fits, trimmed, None).cast(pa.float64()), bad)


def _finite(column: str, numeric: pa.Array, bad: np.ndarray | None) -> tuple[pa.Array, Problem]:
    finite = pc.fill_null(pc.is_finite(numeric), True)
    infinite = ~finite.to_numpy(zero_copy_only=False)
    if infinite.any():
        numeric = pc.if_else(finite, numeric, None)
    return numeric, Problem(column, infinite if bad is None else bad | infinite, "is not a number")


def token_lists(values: pa.Array, separator: str, missing: pa.Array) -> pa.Array:
    """A multi-valued column: a list of tokens per row, empty where there is no value."""
    if not (pa.types.is_list(values.type) or pa.types.is_large_list(values.type)):
        given = tokens(values, missing)
        values = pc.split_pattern(pc.fill_null(given, ""), separator)
    flat = text(pc.list_flatten(values))
    parents = pc.list_parent_indices(values).to_numpy()
    keep = pc.and_not(pc.is_valid(flat), pc.or_(pc.is_in(flat, missing), pc.equal(flat, "")))
    kept = pc.fill_null(keep, False).to_numpy(zero_copy_only=False)
    sizes = np.bincount(parents[kept], minlength=len(values))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat.filter(pa.array(kept)))


def seconds(column: str, values: pa.Array, format: str | None, missing: pa.Array) -> tuple[pa.Array, Problem]:
    """A timestamp column: whole seconds since 1970 (UTC), int64."""
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        instants = values.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
        return instants, Problem(column).or_null(instants, "is no point in time")
    if format is not None:
        parsed = pc.strptime(text(values), format=format, unit="s", error_is_null=True).cast(pa.int64())
        return parsed, Problem(column).or_null(parsed, f"does not fit the format {format}")
    numeric, problem = numbers(column, values, missing)
    problem = problem.or_null(numeric, "is no point in time")
    whole = np.floor(numeric.fill_null(0).to_numpy())
    beyond = np.abs(whole) > LAST_SECOND
    if beyond.any() and problem.mask is None:
        problem = Problem(column, beyond, "is beyond the year 9999: timestamps are in seconds")
    return pa.array(np.where(beyond, 0, whole).astype(np.int64)), problem


def part_of(instants: pa.Array, part: Part) -> pa.Array:
    """Hour, weekday (0 is Monday), day of the month or month of instants given in seconds, as text."""
    return _PARTS[part](instants.cast(pa.timestamp("s"))).cast(pa.string())


def weights(column: str, values: pa.Array, missing: pa.Array) -> tuple[pa.Array, Problem]:
    """A weight column: float32, none negative."""
    numeric = numbers(column, values, missing)[0]
    plain = numeric.fill_null(-1).to_numpy()
    bad = (plain < 0) | (plain > np.finfo(np.float32).max)
    return pa.array(plain.astype(np.float32)), Problem(column, bad, "is no weight (a number from 0 up)")
