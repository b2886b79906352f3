"""Shares of missing and unseen values in rows to score, compared with the training rows.

V values of a field.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field as Bounded

from ctrloom.config.base import StrictModel
from ctrloom.data.vocabulary.drift_baseline import DriftBaseline
from ctrloom.data.vocabulary.encode import Vocabulary
from ctrloom.schema import FIRST_TOKEN_ID, MISSING_ID, UNSEEN_ID, Field

REMARKABLE = 0.1  # more missing or unseen values than in training
WRONG = 0.5  # unseen: most likely another type or spelling
_SHOWN = 2  # frequent values of the training rows


@dataclass(frozen=True)
class ValueShares:
    """One field: missing values as a share of rows, and unseen ones as a share of the values that are there.

    The shares of the training rows are None for a bundle without `reference.json`; a number that is kept as
    such is never unseen.
    """

    name: str
    rows: int
    missing: float
    missing_in_training: float | None
    values: int
    unseen: float
    unseen_in_training: float | None
    unseen_value: str | None = None  # the first one
    frequent_values: tuple[str, ...] = ()  # of the training rows

    def warnings(self) -> Iterator[str]:
        """A sentence on each share that is much larger than in training."""
        if self.missing - (self.missing_in_training or 0) > REMARKABLE:
            before = _before(self.missing_in_training)
            yield f"{self.name}: {self.missing:.1%} of {self.rows:,} rows have no value{before}"
        if self.unseen - (self.unseen_in_training or 0) > REMARKABLE:
            before = _before(self.unseen_in_training)
            found = f"{self.unseen:.1%} of {self.values:,} values are unseen{before}"
            known = " or ".join(map(repr, self.frequent_values)) or "no value at all"
            advice = f" while training has {known}; compare type and spelling of the column in both"
            most = self.unseen > WRONG
            yield f"{self.name}: {found}, such as {self.unseen_value!r}{advice if most else ''}"


def _before(share: float | None) -> str:
    return "" if share is None else f" ({share:.1%} in training)"


class ValueCounts(StrictModel):
    """What a `ValueCounter` has counted."""

    rows: int = Bounded(0, ge=0)
    missing: int = Bounded(0, ge=0)
    values: int = Bounded(0, ge=0)
    unseen: int = Bounded(0, ge=0)
    unseen_value: str | None = None  # the first one


class ValueCounter:
    """Counts the missing and unseen values of one field."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.rows = self.missing = self.values = self.unseen = 0
        self.unseen_value: str | None = None

    @property
    def counts(self) -> ValueCounts:
        """The counts so far."""
        return ValueCounts(**{name: getattr(self, name) for name in ValueCounts.model_fields})

    def merge(self, other: ValueCounts | Self) -> None:
        """Add what was counted in later rows."""
        self.rows, self.missing = self.rows + other.rows, self.missing + other.missing
        self.values, self.unseen = self.values + other.values, self.unseen + other.unseen
        if self.unseen_value is None:
            self.unseen_value = other.unseen_value

    def add(self, typed: pa.Array, encoded: pa.Array) -> None:
        """Count the values of some rows, given as typed and as encoded column."""
        self.rows += len(encoded)
        if self.field.kind == "numeric":
            self.missing += encoded.null_count
            self.values += len(encoded) - encoded.null_count
            return
        lists = pa.types.is_list(encoded.type)
        size_N = pc.list_value_length(encoded).to_numpy() if lists else np.ones(len(encoded), dtype=np.int64)
        id_V = self.field.common((pc.list_flatten(encoded) if lists else encoded).to_numpy())
        empty = np.count_nonzero(size_N == 0) if lists else np.count_nonzero(id_V == MISSING_ID)
        self.missing += int(empty)
        self.values += int(np.count_nonzero(id_V != MISSING_ID))
        unseen_V = np.flatnonzero(id_V == UNSEEN_ID)
        self.unseen += len(unseen_V)
        if len(unseen_V) and self.unseen_value is None:
            stop_N = np.cumsum(size_N)
            row = int(np.searchsorted(stop_N, unseen_V[0], side="right"))
            value = typed[row].as_py()
            place = int(unseen_V[0] - (stop_N[row] - size_N[row]))
            self.unseen_value = str(value[place] if lists else value)

    def shares(self, vocabulary: Vocabulary | None, training: DriftBaseline | None) -> ValueShares:
        """The shares of all rows so far."""
        missing = unseen = None
        if training:
            before, own = training.fields[self.field.name], self.field.size - FIRST_TOKEN_ID
            known = vocabulary.first(own).total if vocabulary else 0
            missing = before.missing / max(training.rows, 1)
            unseen = before.unseen / max(known + before.unseen, 1)
        return ValueShares(
            name=self.field.name,
            rows=self.rows,
            missing=self.missing / max(self.rows, 1),
            missing_in_training=missing,
            values=self.values,
            unseen=self.unseen / max(self.values, 1),
            unseen_in_training=unseen,
            unseen_value=self.unseen_value,
            frequent_values=tuple(vocabulary.tokens[:_SHOWN].to_pylist()) if vocabulary else (),
        )
