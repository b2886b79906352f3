"""What data and models agree on: fields, their kinds, sizes and places in one table, and their crosses."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctrloom.config import Bucketing, SourceConfig
from ctrloom.config.base import StrictModel

MISSING_ID = 0
UNSEEN_ID = 1
FIRST_TOKEN_ID = 2
UNSEEN_CROSS_ID = 0  # of a pair: rare and unseen values; a missing value of a field is a value like others


class CountedKeys(NamedTuple):
    """Keys of the kept values of a pair of fields, ascending, and how many training rows have each."""

    key_K: NDArray[np.int64]
    count_K: NDArray[np.int64]


CrossKeys = Mapping[tuple[str, ...], CountedKeys]  # per pair of fields; see `Cross`


class SchemaMismatchError(ValueError):
    """Data and model were made from different schemas."""


class Field(StrictModel):
    """One input of a model.

    A categorical field has one id per row, a multi-valued one up to `width`, and a numeric one (kept as a
    number) has id 0 when missing and otherwise id 1 with its scaled value as the factor of the embedding.
    """

    name: str
    kind: Literal["categorical", "numeric", "multivalued"]
    size: int  # number of ids, the reserved ones included
    width: int = 1  # columns of the id matrix that the field takes
    column: str  # column of the source that it is made from
    derived: Literal["hour", "weekday", "day", "month"] | None = None  # part of a timestamp column
    bucketing: Bucketing | None = None  # numeric columns; boundaries that were fitted are in `boundaries`
    boundaries: tuple[float, ...] = ()  # of the buckets; for min-max scaling: smallest and largest value
    vocabulary_digest: str = ""  # SHA-256 over the tokens in id order


class Cross(StrictModel):
    """Ids for the values of two categorical fields together.

    Ids a and b of the fields make the key a * (size of the second field) + b. The kept keys, ascending, have
    the ids 1, 2, ...; every other key has id 0.
    """

    fields: tuple[str, str]
    size: int  # number of ids, that of the unseen values included
    digest: str  # SHA-256 over the keys in id order


class Schema(StrictModel):
    """The fields of a data set in order, and how raw rows become them."""

    version: Literal[1] = 1
    fields: tuple[Field, ...]
    source: SourceConfig
    negatives_kept: float = 1.0  # share of the negative training rows; probabilities are corrected for it
    crosses: tuple[Cross, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Field names in order."""
        return tuple(field.name for field in self.fields)

    @property
    def offsets(self) -> tuple[int, ...]:
        """First row of each field in the fused embedding table."""
        return (0, *accumulate(field.size for field in self.fields[:-1]))

    @property
    def table_size(self) -> int:
        """Rows of the fused embedding table."""
        return sum(field.size for field in self.fields)

    @property
    def field_of_column(self) -> tuple[int, ...]:
        """For each column of the id matrix the index of its field."""
        return tuple(i for i, field in enumerate(self.fields) for _ in range(field.width))

    @property
    def weighted(self) -> bool:
        """Whether ids carry factors: numbers kept as such, or means over several values."""
        return any(field.kind != "categorical" for field in self.fields)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over fields, boundaries, vocabularies, and crosses where there are some."""
        return _digest([part.model_dump(mode="json") for part in (*self.fields, *self.crosses)])

    def indices(self, names: Sequence[str]) -> tuple[int, ...]:
        """Positions of fields given by name.

        Raises:
            SchemaMismatchError: a name that is no field.
        """
        position = {name: i for i, name in enumerate(self.names)}
        missing = [name for name in names if name not in position]
        if missing:
            raise SchemaMismatchError(
                f"no field named {missing[0]!r}; the fields are {', '.join(self.names)}"
            )
        return tuple(position[name] for name in names)

    def require_same(self, other: "Schema", what: str) -> None:
        """Raise SchemaMismatchError, naming the first field that differs, unless the fingerprints agree."""
        if self.fingerprint == other.fingerprint:
            return
        if self.names != other.names:
            raise SchemaMismatchError(
                f"{what} has the fields {', '.join(other.names)}; expected {', '.join(self.names)}"
            )
        for mine, theirs in zip(self.fields, other.fields, strict=True):
            for key, value in mine.model_dump().items():
                if value != (found := theirs.model_dump()[key]):
                    raise SchemaMismatchError(
                        f"{what} was made from other data: field {mine.name!r} differs in {key} "
                        f"({_short(found)} instead of {_short(value)}); train and score on one data set"
                    )
        pairs = sorted({cross.fields for cross in {*self.crosses} ^ {*other.crosses}})
        raise SchemaMismatchError(
            f"{what} was made with other crosses ({len(pairs)} pairs differ, such as {pairs[0]}); "
            "use one setting of vocabulary.crosses"
        )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
