"""Tokens of a column: text, the same for equal values of any type."""

from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc


def is_text(type: pa.DataType) -> bool:
    """True for all types of text."""
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type))


def numbers_in(missing: pa.Array) -> pa.Array:
    """Those of the missing values that are numbers: they mean these numbers in any spelling."""
    found = []
    for value in missing.to_pylist():
        with suppress(ValueError):
            found.append(float(value))
    return pa.array(found, pa.float64())


def text(values: pa.Array) -> pa.Array:
    """Cast any column to text; equal values of different types have equal texts, and NaN is null.

    Numbers have no trailing zeros and no decimal point if they are whole, times no fraction and zone if these
    are zero, and no midnight.
    """
    if pa.types.is_floating(values.type):
        return _text_of_floats(values)
    if pa.types.is_decimal(values.type):
        return _text_of_decimals(values)
    if pa.types.is_timestamp(values.type):
        zone = "UTC" if values.type.tz else None
        values = values.cast(pa.timestamp(values.type.unit, zone)).cast(pa.string())
        return pc.replace_substring_regex(_without_fraction(values), r" 00:00:00$", "")
    if pa.types.is_time(values.type):
        return _without_fraction(values.cast(pa.string()))
    return values.cast(pa.string())


def _text_of_floats(values: pa.Array) -> pa.Array:
    values = values.cast(pa.float32()) if pa.types.is_float16(values.type) else values
    values = pc.if_else(pc.is_nan(values), None, values)
    whole = pc.and_(pc.is_finite(values), pc.equal(values, pc.floor(values)))
    short = pc.and_(whole, pc.less(pc.abs(values), 2.0**63))
    found = pc.if_else(short, values, None).cast(pa.int64(), safe=False).cast(pa.string())
    if pc.any(long := pc.and_not(whole, short)).as_py():
        numbers = pc.if_else(long, values, None).to_pylist()
        found = pc.coalesce(found, pa.array([n if n is None else str(int(n)) for n in numbers], pa.string()))
    return pc.coalesce(found, values.cast(pa.string()))


def _text_of_decimals(values: pa.Array) -> pa.Array:
    found = values.cast(pa.string())
    scientific = pc.match_substring(found, "E")
    if values.type.scale > 0:
        found = pc.utf8_rtrim(pc.utf8_rtrim(found, "0"), ".")
    if pc.any(scientific).as_py():  # small numbers, and zeros of a large scale
        small = pc.if_else(scientific, values, None).to_pylist()
        floats = pa.array([None if value is None else float(value) for value in small], pa.float64())
        found = pc.coalesce(_text_of_floats(floats), found)
    return found


def _without_fraction(times: pa.Array) -> pa.Array:
    """Texts of times without the trailing zeros of the fraction of a second."""
    times = pc.replace_substring_regex(times, r"(\.\d*[1-9])0+(Z?)$", r"\1\2")
    return pc.replace_substring_regex(times, r"\.0+(Z?)$", r"\1")


def tokens(values: pa.Array, missing: pa.Array) -> pa.Array:
    """Text, null if missing."""
    if not is_text(values.type):
        missing = pa.concat_arrays([missing, text(numbers_in(missing))])
    values = text(values)
    return pc.if_else(pc.is_in(values, missing), None, values)
