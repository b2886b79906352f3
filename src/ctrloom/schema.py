"""The schema shared by data and models: fields, kinds, sizes and offsets in one table, and crosses."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar, get_args, get_origin

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import BaseModel, model_validator

from ctrloom.config import Bucketing, Keep, Pooling, SourceConfig
from ctrloom.config.base import StrictModel
from ctrloom.config.errors import UserError

MISSING_ID = 0
UNSEEN_ID = 1
PRESENT_ID = 1  # of a field that is kept as a number, which has no unseen values
FIRST_TOKEN_ID = 2
MOST_IDS = 2**31 - 1  # the largest int32, also in the fused table
_NOT_IN_VERSION_1: Any = {"pooling": True, "rare": True, "bucketing": {"missing"}}
UNSEEN_CROSS_ID = 0  # rare and unseen cross values; a missing value of a field counts as a value


Ids = Annotated[int, pydantic.Field(ge=1, le=MOST_IDS)]


class CountedKeys(NamedTuple):
    """Keys of the kept cross values of a pair, ascending, and the number of training rows of each."""

    key_K: NDArray[np.int64]
    count_K: NDArray[np.int64]


Id = TypeVar("Id", bound=np.integer[Any])
CrossKeys = Mapping[tuple[str, ...], CountedKeys]  # per pair of fields; see `Cross`


class SchemaMismatchError(UserError):
    """Data and model were made from different schemas."""

    from_inputs = True


class Field(StrictModel):
    """One input of a model.

    A categorical field has one id per row, a multi-valued one up to `width`, and a numeric one (kept as a
    number) has id 0 when missing and otherwise id 1 with its scaled value as the factor of the embedding.

    The ids from `size` on are those of rare values that only crosses distinguish: for all else, such a value
    is an unseen one.
    """

    name: str
    kind: Literal["categorical", "numeric", "multivalued"]
    size: Ids  # number of ids with an embedding of their own, including the reserved ones
    rare: Annotated[int, pydantic.Field(ge=0, le=MOST_IDS)] = 0  # number of further ids
    width: Ids = 1  # columns of the field in the id matrix
    pooling: Pooling = "mean"  # of the embeddings of several values
    column: str  # source column
    derived: Literal["hour", "weekday", "day", "month"] | None = None  # part of a timestamp column
    bucketing: Bucketing | None = None  # numeric columns; fitted boundaries are in `boundaries`
    boundaries: tuple[
        pydantic.FiniteFloat, ...
    ] = ()  # of the buckets; for min-max scaling: minimum and maximum
    vocabulary_digest: str = ""  # SHA-256 over the tokens in id order

    @property
    def ids(self) -> int:
        """Number of ids, including those of rare values."""
        return self.size + self.rare

    def common(self, ids: NDArray[Id]) -> NDArray[Id]:
        """Ids, with the unseen id in place of those of rare values."""
        return np.where(ids < self.size, ids, UNSEEN_ID).astype(ids.dtype) if self.rare else ids

    @property
    def missing_factor(self) -> float:
        """What multiplies the embedding of a missing value."""
        zero = isinstance(self.bucketing, Keep) and self.bucketing.missing == "zero"
        return 0.0 if zero else 1.0

    def value_factors(self, values: NDArray[np.int64]) -> NDArray[np.float64]:
        """What multiplies the embeddings of the values of rows that have so many of them."""
        return np.ones(len(values)) if self.pooling == "sum" else 1 / np.maximum(values, 1)


class Cross(StrictModel):
    """Ids for the crosses of two categorical fields.

    Ids a and b of the fields give the key a * (number of ids of the second field) + b. The kept keys,
    ascending, have the ids 1, 2, ...; all other keys have id 0.
    """

    fields: tuple[str, str]
    size: Ids  # number of ids, including the unseen one
    digest: str  # SHA-256 over the keys in id order


class Schema(StrictModel):
    """The fields of a data set in order, and how they are made from raw rows."""

    version: Literal[1, 2] = 2  # the fingerprint of version 1 covers fields and crosses only
    fields: tuple[Field, ...]
    source: SourceConfig
    # Share of the negative training rows; probabilities are corrected for it.
    negatives_kept: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    crosses: tuple[Cross, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if twice := [name for name in self.names if self.names.count(name) > 1]:
            raise ValueError(f"fields: duplicate {twice[0]!r}")
        if self.ids > MOST_IDS + 1:
            raise ValueError(f"fields: have {self.ids} ids together; at most {MOST_IDS + 1} are possible")
        if unknown := {name for cross in self.crosses for name in cross.fields} - set(self.names):
            raise ValueError(f"crosses: unknown field {min(unknown)!r}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Field names in order."""
        return tuple(field.name for field in self.fields)

    @property
    def offsets(self) -> tuple[int, ...]:
        """First id of each field among those of all fields."""
        return (0, *accumulate(field.ids for field in self.fields[:-1]))

    @property
    def ids(self) -> int:
        """Number of ids of all fields."""
        return sum(field.ids for field in self.fields)

    @property
    def table_offsets(self) -> tuple[int, ...]:
        """First row of each field in the fused embedding table; the offsets, unless there are rare values."""
        return (0, *accumulate(field.size for field in self.fields[:-1]))

    @property
    def table_size(self) -> int:
        """Rows of the fused embedding table."""
        return sum(field.size for field in self.fields)

    @property
    def field_of_column(self) -> tuple[int, ...]:
        """Index of the field of each column of the id matrix."""
        return tuple(i for i, field in enumerate(self.fields) for _ in range(field.width))

    @property
    def has_factors(self) -> bool:
        """True if ids have factors: for numbers kept as such, or several values."""
        return any(field.kind != "categorical" for field in self.fields)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything: how rows are read, fields, boundaries, vocabularies and crosses."""
        if self.version == 1:
            parts = (*self.fields, *self.crosses)
            return _digest([part.model_dump(mode="json", exclude=_NOT_IN_VERSION_1) for part in parts])
        return _digest(_essence(self))

    def indices(self, names: Sequence[str]) -> tuple[int, ...]:
        """Positions of fields given by name.

        Raises:
            SchemaMismatchError: a name is not a field.
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
        if not pairs:
            raise SchemaMismatchError(
                f"{what} was made from data that is read differently: {_difference(self, other)}; "
                "train and score on one data set"
            )
        raise SchemaMismatchError(
            f"{what} was made with other crosses ({len(pairs)} pairs differ, such as {pairs[0]}); "
            "use one setting of vocabulary.crosses"
        )


def _difference(mine: Schema, theirs: Schema) -> str:
    """The first key outside of fields and crosses that differs."""
    one, other = (
        {"version": each.version, "negatives_kept": each.negatives_kept, **each.source.model_dump()}
        for each in (mine, theirs)
    )
    key = next(key for key in one if one[key] != other[key])
    return f"{key} is {_short(other[key])} instead of {_short(one[key])}"


def _essence(value: Any) -> Any:
    """JSON of a value without keys that have their default, so that keys added later do not change it."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {name: _essence(each) for name, each in value if _matters(fields[name], each)}
    if isinstance(value, Mapping):
        return [[key, _essence(each)] for key, each in value.items()]
    return [_essence(each) for each in value] if isinstance(value, tuple) else value


def _matters(field: pydantic.fields.FieldInfo, value: Any) -> bool:
    tag = get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1
    return tag or value != field.get_default(call_default_factory=True)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
