"""Warnings about a few extreme numbers that leave all others in one bucket, or scaled to nearly one value.

S slots: buckets of equal width, or hundredths of the range of a min-max scaling.
"""

from collections.abc import Callable, Iterator

import numpy as np

from ctrloom.config import Bucketing, EqualWidth, Keep
from ctrloom.data.vocabulary.bucketing import codes, scaled
from ctrloom.data.vocabulary.field_counts import FieldCounts

MOST = 0.95  # share of the rows in one slot
DIFFERENT = 3  # values that must be distinct there
LARGE = 1e4  # number that an embedding should not be multiplied with
_HUNDREDTHS = 100


def extreme_warnings(
    name: str, method: Bucketing, boundaries: tuple[float, ...], counts: FieldCounts
) -> Iterator[str]:
    """At most one sentence; rows with the most frequent value do not count, as it may well be a default."""
    if isinstance(method, Keep) and method.scaling == "none":
        if (largest := max((float(np.abs(v).max()) for v, _ in counts.chunks("train")), default=0.0)) > LARGE:
            yield (
                f"{name}: numbers up to {largest:g} multiply the embedding of the field as they are; "
                "set scaling: min_max or log, or correct extreme values"
            )
    elif isinstance(method, EqualWidth):
        if share := _squeezed(lambda values: codes(method, boundaries, values), len(boundaries) + 1, counts):
            yield (
                f"{name}: {share} are in one of {len(boundaries) + 1} buckets of equal width; "
                "set method: equal_frequency or log_squared, or correct extreme values"
            )
    elif isinstance(method, Keep) and method.scaling == "min_max":

        def hundredth(values: np.ndarray) -> np.ndarray:
            return (scaled(method, boundaries, values) * _HUNDREDTHS).astype(np.int64)

        if share := _squeezed(hundredth, _HUNDREDTHS + 1, counts):
            yield (
                f"{name}: {share} are within a hundredth of the range, and so are nearly the same after "
                "min-max scaling; set scaling: log, or correct extreme values"
            )


def _squeezed(slot_of: Callable[[np.ndarray], np.ndarray], slots: int, counts: FieldCounts) -> str | None:
    """The share of the training rows in the largest slot, with the range of values, if it is suspicious."""
    rows_S, distinct_S = np.zeros(slots), np.zeros(slots, dtype=np.int64)
    often, its_slot, ends = 0, 0, []
    for values, numbers in counts.chunks("train"):
        slot = slot_of(values)
        rows_S += np.bincount(slot, numbers, slots)
        distinct_S += np.bincount(slot, minlength=slots)
        ends += [float(values[0]), float(values[-1])]
        if numbers.max() > often:
            often, its_slot = int(numbers.max()), int(slot[np.argmax(numbers)])
    share_S = rows_S / max(rows_S.sum(), 1)
    rows_S[its_slot] -= often
    distinct_S[its_slot] -= 1
    top = int(np.argmax(rows_S))
    others = int(distinct_S.sum() - distinct_S[top])
    if distinct_S[top] < DIFFERENT or (rows_S[top] < MOST * rows_S.sum() and others > 1):
        return None
    return f"values are from {ends[0]:g} to {ends[-1]:g}, and {share_S[top]:.1%} of the training rows"
