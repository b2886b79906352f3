"""Bucketing and scaling of numbers; boundaries are fitted on the training split."""

from collections.abc import Iterable, Sequence

import numpy as np

from ctrloom.config import (
    Boundaries,
    Bucketing,
    EqualFrequency,
    EqualWidth,
    Keep,
    LogSquared,
    RowsPerBucket,
)
from ctrloom.config.base import ConfigError

Counts = Iterable[tuple[np.ndarray, np.ndarray]]  # values, ascending over all chunks, and their counts

_FLOAT32 = float(np.finfo(np.float32).max)


def check(method: Bucketing, field: str) -> None:
    """Raise ConfigError if configured boundaries are not strictly ascending."""
    if isinstance(method, Boundaries) and not np.all(np.diff(method.values) > 0):
        raise ConfigError(f"vocabulary.fields.{field}.bucketing.values must be strictly ascending")


def fit(method: Bucketing, counts: Counts, total: int) -> tuple[float, ...]:
    """Boundaries for the `total` training values of one field; minimum and maximum for min-max scaling.

    With boundaries b, bucket k holds b[k-1] <= x < b[k]. Equal values are in the same bucket, so there may be
    fewer equal-frequency buckets than configured.
    """
    if isinstance(method, Boundaries):
        return method.values
    if isinstance(method, EqualFrequency):
        return _equal_frequency(method.buckets, counts, total)
    if isinstance(method, RowsPerBucket):
        return _rows_per_bucket(method.rows, counts)
    if isinstance(method, EqualWidth) and total:
        low, high = _range(counts)
        half = 0.5 if np.isinf(high - low) else 1.0  # of a range that is beyond the largest number
        inner = np.linspace(low * half, high * half, method.buckets + 1)[1:-1] / half
        return tuple(float(b) for b in np.unique(inner) if low < b <= high)
    if isinstance(method, Keep) and method.scaling == "min_max":
        return _range(counts)
    return ()


def codes(method: Bucketing, boundaries: tuple[float, ...], values: np.ndarray) -> np.ndarray:
    """Bucket index (int64) of each value."""
    if not isinstance(method, LogSquared):
        return np.searchsorted(np.asarray(boundaries, dtype=np.float64), values, side="right")
    large = values > 2
    squared = np.log(np.where(large, values, 3.0)) ** 2
    return np.floor(np.where(large, squared, np.maximum(values, -(2.0**62)))).astype(np.int64)


def bucket_labels(method: Bucketing, boundaries: tuple[float, ...], codes: Iterable[int]) -> list[str]:
    """Tokens of buckets: the log-squared number, or the interval."""
    if isinstance(method, LogSquared):
        return [str(code) for code in codes]
    return [_interval(boundaries, code) for code in codes]


def _interval(boundaries: Sequence[float], code: int) -> str:
    if not boundaries:
        return "any"
    if code == 0:
        return f"< {_short(boundaries[0])}"
    low = _short(boundaries[code - 1])
    return f">= {low}" if code == len(boundaries) else f"[{low}, {_short(boundaries[code])})"


def scaled(method: Keep, boundaries: tuple[float, ...], values: np.ndarray) -> np.ndarray:
    """Scaled numbers (float32); outside the training range, min-max gives 0 or 1."""
    if method.scaling == "log":
        return (np.sign(values) * np.log1p(np.abs(values))).astype(np.float32)
    if method.scaling == "none":
        return np.clip(values, -_FLOAT32, _FLOAT32).astype(np.float32)
    if method.scaling == "log_squared":
        large = values > 2
        squared = np.floor(np.log(np.where(large, values, 3.0)) ** 2)
        return np.where(large, squared, np.maximum(values, -_FLOAT32)).astype(np.float32)
    low, high = boundaries
    half = 0.5 if np.isinf(high - low) else 1.0  # of a range that is beyond the largest number
    low, high = low * half, high * half
    width = high - low if high > low else 1.0
    with np.errstate(over="ignore"):  # beyond the range: clipped below
        return np.clip((values * half - low) / width, 0, 1).astype(np.float32)


def _range(counts: Counts) -> tuple[float, float]:
    ends = [float(value) for values, _ in counts if len(values) for value in (values[0], values[-1])]
    return (ends[0], ends[-1]) if ends else (0.0, 1.0)


def _equal_frequency(buckets: int, counts: Counts, total: int) -> tuple[float, ...]:
    boundaries: list[float] = []
    before, last = 0, 0  # rows below the current value; bucket of the previous value
    for values, number in counts:
        below = before + np.cumsum(number) - number
        bucket = np.concatenate([[last], below * buckets // total])
        boundaries += values[np.diff(bucket) > 0].tolist()
        before, last = int(below[-1] + number[-1]), int(bucket[-1])
    return tuple(boundaries)


def _rows_per_bucket(rows: int, counts: Counts) -> tuple[float, ...]:
    boundaries: list[float] = []
    held = 0  # rows in the last bucket
    for values, numbers in counts:
        for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
            if held > rows:
                boundaries.append(value)
                held = 0
            held += number
    return tuple(boundaries)


def _short(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
