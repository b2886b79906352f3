"""Vectorised conversion of raw columns to typed columns."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom.data.ingest.tokens import is_text, numbers_in

LEAST_WEIGHT, MOST_WEIGHT = 1e-12, 1e12
_NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[nN][aA][nN])$"


class Fault(NamedTuple):
    """Invalid rows of a column and the reason."""

    column: str
    rows: np.ndarray  # bool, one per row
    what: str


def fault_of(column: str, rows: pa.Array | np.ndarray, what: str) -> list[Fault]:
    """The fault in a list; an empty list if no row has it."""
    rows = rows if isinstance(rows, np.ndarray) else rows.to_numpy(zero_copy_only=False)
    return [Fault(column, rows, what)] if rows.any() else []


def numbers(column: str, values: pa.Array, missing: pa.Array) -> tuple[pa.Array, list[Fault]]:
    """A column of finite numbers (float64), null if missing or NaN."""
    if not is_text(values.type):
        return _finite(column, values.cast(pa.float64(), safe=False), missing, None)
    values = values.cast(pa.string())
    given = pc.if_else(pc.is_in(values, missing), None, values)
    try:
        return _finite(column, given.cast(pa.float64()), missing, None)
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(given)
        fits = pc.fill_null(pc.match_substring_regex(trimmed, _NUMBER), True)
        unreadable = ~fits.to_numpy(zero_copy_only=False)
        return _finite(column, pc.if_else(fits, trimmed, None).cast(pa.float64()), missing, unreadable)


def _finite(
    column: str, numeric: pa.Array, missing: pa.Array, unreadable: np.ndarray | None
) -> tuple[pa.Array, list[Fault]]:
    absent = pc.is_nan(numeric)
    if len(known := numbers_in(missing)):
        absent = pc.or_(absent, pc.is_in(_one_zero(numeric), _one_zero(known)))
    numeric = pc.if_else(absent, None, numeric)
    finite = pc.fill_null(pc.is_finite(numeric), True)
    bad = ~finite.to_numpy(zero_copy_only=False)
    if bad.any():
        numeric = pc.if_else(finite, numeric, None)
    bad = bad if unreadable is None else bad | unreadable
    return numeric, fault_of(column, bad, "is not a number")


def _one_zero(numeric: pa.Array) -> pa.Array:
    """Numbers with -0.0 as 0.0, which `is_in` distinguishes."""
    return pc.add(numeric, 0.0)


def weights(column: str, values: pa.Array, missing: pa.Array) -> tuple[pa.Array, list[Fault]]:
    """A weight column: float32, none negative, and none so small or large that float32 sums are inexact."""
    plain = numbers(column, values, missing)[0].fill_null(-1).to_numpy()
    bad = (plain != 0) & ((plain < LEAST_WEIGHT) | (plain > MOST_WEIGHT))
    usable = pa.array(np.where(bad, 0, plain).astype(np.float32))
    limits = f"0, or a number from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}"
    return usable, fault_of(column, bad, f"is not a weight ({limits})")
