"""Drift of later rows from a model's training rows."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ctrloom.config.base import StrictModel
from ctrloom.config.retraining import DriftConfig
from ctrloom.metrics.measure import Floats


class FieldDrift(StrictModel):
    """One field, before and now; rates are shares of its values."""

    name: str
    kind: str
    missing_before: float
    missing_now: float
    unseen_before: float
    unseen_now: float  # values that the champion has no id for
    new_ids: int  # given to new values
    stability: float  # population stability index


class Drift(StrictModel):
    """`drift.json`: training rows of the champion against those of a new window."""

    version: Literal[1] = 1
    champion_schema: str  # fingerprint
    data_fingerprint: str
    rows_before: int
    rows_now: int
    label_rate_before: float
    label_rate_now: float
    fields: tuple[FieldDrift, ...]
    config: DriftConfig

    @property
    def label_rate_change(self) -> float:
        """Relative change of the label rate."""
        return self.label_rate_now / self.label_rate_before - 1

    @property
    def alarms(self) -> list[str]:
        """One sentence per exceeded threshold."""
        found = []
        if abs(self.label_rate_change) > self.config.label_rate_alarm:
            found.append(f"the label rate changed by {100 * self.label_rate_change:+.0f} %")
        for field in self.fields:
            if self.drifted(field):
                unseen = f"unseen {100 * field.unseen_now:.1f} %"
                found.append(f"{field.name}: stability index {field.stability:.2f}, {unseen}")
        return found

    def drifted(self, field: FieldDrift) -> bool:
        """True if a field exceeds a threshold."""
        return field.stability > self.config.stability_alarm or field.unseen_now > self.config.unseen_alarm


def stability_index(before: ArrayLike, now: ArrayLike) -> float:
    """Population stability index of two counts over the same buckets: sum of (q - p) ln(q / p).

    Half a row is added to each bucket, so that an empty one gives a finite number.
    """
    p, q = (_shares(np.asarray(counts, np.float64)) for counts in (before, now))
    return float((q - p) @ np.log(q / p))


def grouped(before: ArrayLike, now: ArrayLike, buckets: int) -> tuple[Floats, Floats]:
    """Sum counts of values into at most `buckets` groups of about equal size before.

    Otherwise thousands of rare values make the index mostly noise.
    """
    first, second = np.asarray(before, np.float64), np.asarray(now, np.float64)
    order = np.argsort(-first, kind="stable")
    mass = first[order].cumsum() - 0.5 * first[order]
    group = np.minimum((mass * (buckets / max(first.sum(), 1.0))).astype(np.int64), buckets - 1)
    _, group = np.unique(group, return_inverse=True)
    before_G, now_G = (np.bincount(group, side[order]).astype(np.float64) for side in (first, second))
    return before_G, now_G


def field_drift(
    name: str,
    kind: str,
    before: Sequence[int],
    now: Sequence[int],
    missing: tuple[int, int],
    unseen: tuple[int, int],
    new_ids: int,
    buckets: int,
) -> FieldDrift:
    """The drift of one field from the counts of its values (or bins), of missing and of unseen ones."""
    totals = [sum(counts) + missing[i] + unseen[i] for i, counts in enumerate((before, now))]
    sides = grouped(before, now, buckets)
    stability = stability_index(*([*side, missing[i], unseen[i]] for i, side in enumerate(sides)))
    (missing_before, missing_now), (unseen_before, unseen_now) = (
        [count / max(total, 1) for count, total in zip(counts, totals, strict=True)]
        for counts in (missing, unseen)
    )
    return FieldDrift(
        name=name,
        kind=kind,
        missing_before=missing_before,
        missing_now=missing_now,
        unseen_before=unseen_before,
        unseen_now=unseen_now,
        new_ids=new_ids,
        stability=stability,
    )


def _shares(counts: Floats) -> Floats:
    return (counts + 0.5) / (counts + 0.5).sum()
