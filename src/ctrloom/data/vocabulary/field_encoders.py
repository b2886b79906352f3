"""Encoders of single fields for few rows: Python values to ids of the fused table, and factors.

Each is prepared once, so that a value costs less than a microsecond. `raw` takes values as a program has
them, `typed` those of `data.ingest.cast`. Both return one list of ids and, where ids have factors, one of
factors: the field's columns one after another, of N rows each.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from ctrloom.config import Bucketing, Keep, LogSquared, Multivalued, Numeric
from ctrloom.data.ingest.python_values import PythonCast
from ctrloom.data.vocabulary.bucketing import bucket_labels, codes, scaled
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.schema import FIRST_TOKEN_ID, MISSING_ID, PRESENT_ID, UNSEEN_ID, Field

_SURE = 1e-6  # a logarithm is exact to fewer digits than this
_RECENT = 10_000  # values of a column whose ids are kept


class Encoded(NamedTuple):
    """Ids and factors of a field; no factors: all are 1."""

    ids: list[int]
    factors: list[float] | None = None


class FieldEncoder(Protocol):
    """The interface of an encoder."""

    def raw(self, values: Sequence[Any]) -> Encoded:
        """Encode values of a column.

        Raises:
            NotImplementedError: Arrow must cast the column.
        """

    def typed(self, values: Sequence[Any]) -> Encoded:
        """Encode typed values."""


def field_encoder(encoder: Encoder, field: Field, offset: int, values: PythonCast) -> FieldEncoder:
    """The encoder of a field whose ids begin at `offset` in the fused table."""
    column = encoder.schema.source.columns[field.column]
    if field.kind == "numeric":
        return KeptNumbers(field, offset, values, cast(Numeric, column))
    tokens = encoder.vocabularies[field.name].tokens.to_pylist()
    ids = dict(
        zip(tokens, range(offset + FIRST_TOKEN_ID, offset + FIRST_TOKEN_ID + len(tokens)), strict=True)
    )
    if field.kind == "multivalued":
        return TokenLists(field, offset, values, cast(Multivalued, column), ids)
    if field.bucketing is not None:
        return Buckets(field, offset, values, cast(Numeric, column), ids)
    return Tokens(offset, values, ids)


class Tokens:
    """A categorical field."""

    def __init__(self, offset: int, values: PythonCast, ids: dict[str, int]) -> None:
        self.token, self.ids = values.token, ids
        self.missing, self.unseen = offset + MISSING_ID, offset + UNSEEN_ID
        # Text that is looked up as it is; what must be trimmed first is not in the table.
        self.of_text: dict[Any, int] = {**ids, **dict.fromkeys(values.missing.texts, self.missing)}
        if values.trim:
            self.of_text = {text: id for text, id in self.of_text.items() if text == text.strip(" ")}
        self.of_text[None] = self.missing

    def raw(self, values: Sequence[Any]) -> Encoded:
        """Encode values of a column."""
        try:
            found = [*map(self.of_text.get, values)]
        except TypeError:  # not hashable
            found = [None] * len(values)
        if None not in found:
            return Encoded(cast(list[int], found))
        return Encoded(
            [self._of(self.token(v)) if id is None else id for v, id in zip(values, found, strict=True)]
        )

    def typed(self, values: Sequence[Any]) -> Encoded:
        """Encode tokens."""
        return Encoded([*map(self._of, values)])

    def _of(self, token: str | None) -> int:
        return self.missing if token is None else self.ids.get(token, self.unseen)


class Buckets:
    """A numeric field with buckets."""

    def __init__(
        self, field: Field, offset: int, values: PythonCast, column: Numeric, ids: dict[str, int]
    ) -> None:
        self.method, self.boundaries = cast(Bucketing, field.bucketing), field.boundaries
        self.number, self.plain = values.number, column == Numeric()
        self.missing, self.unseen = offset + MISSING_ID, offset + UNSEEN_ID
        self.of_code: dict[int, int] = {}
        if isinstance(self.method, LogSquared):
            self.of_code = {int(code): id for code, id in ids.items()}
        else:
            every = range(len(self.boundaries) + 1)
            labels = bucket_labels(self.method, self.boundaries, every)
            self.of_code = {
                code: ids[label] for code, label in zip(every, labels, strict=True) if label in ids
            }
        # Counts and prices recur, as numbers or texts; 1, 1.0 and True differ here.
        self.recent = lru_cache(_RECENT, typed=True)(self._raw)

    def raw(self, values: Sequence[Any]) -> Encoded:
        """Encode values of a column."""
        try:
            return Encoded([*map(self.recent, values)])
        except TypeError:  # not hashable, so not a number
            raise NotImplementedError from None

    def typed(self, values: Sequence[Any]) -> Encoded:
        """Encode numbers."""
        return Encoded([*map(self._of, values)])

    def _raw(self, value: Any) -> int:
        return self._of(self.number(value, self.plain))

    def _of(self, number: float | None) -> int:
        if number is None:
            return self.missing
        log = isinstance(self.method, LogSquared)
        return self.of_code.get(
            _log_squared(number) if log else bisect_right(self.boundaries, number), self.unseen
        )


def _log_squared(value: float) -> int:
    """The code of a number (see `bucketing.codes`)."""
    squared = math.log(value) ** 2 if value > 2 else max(value, -(2.0**62))
    code = math.floor(squared)
    if value > 2 and not _SURE < squared - code < 1 - _SURE:  # two libraries may round it differently
        code = int(codes(LogSquared(), (), np.array([value]))[0])
    return code


class KeptNumbers:
    """A numeric field without buckets."""

    def __init__(self, field: Field, offset: int, values: PythonCast, column: Numeric) -> None:
        self.method, self.boundaries = cast(Keep, field.bucketing), field.boundaries
        self.number, self.plain = values.number, column == Numeric()
        self.missing, self.present = offset + MISSING_ID, offset + PRESENT_ID
        self.missing_factor = field.missing_factor

    def raw(self, values: Sequence[Any]) -> Encoded:
        """Encode values of a column."""
        return self.typed([self.number(value, self.plain) for value in values])

    def typed(self, values: Sequence[Any]) -> Encoded:
        """Encode numbers."""
        given = np.array([value for value in values if value is not None], np.float64)
        factors = iter(scaled(self.method, self.boundaries, given).tolist())
        ids = [self.missing if value is None else self.present for value in values]
        missing = self.missing_factor
        return Encoded(ids, [missing if value is None else next(factors) for value in values])


class TokenLists:
    """A multi-valued field, whose first `width` tokens count."""

    def __init__(
        self, field: Field, offset: int, values: PythonCast, column: Multivalued, ids: dict[str, int]
    ) -> None:
        self.tokens, self.column, self.ids, self.width = values.tokens, column, ids, field.width
        self.missing, self.unseen = offset + MISSING_ID, offset + UNSEEN_ID
        self.factors = [[1.0] + [0.0] * (field.width - 1)]  # of an empty list
        for n, factor in enumerate(field.value_factors(np.arange(1, field.width + 1)).tolist(), 1):
            self.factors.append([factor] * n + [0.0] * (field.width - n))

    def raw(self, values: Sequence[Any]) -> Encoded:
        """Encode values of a column."""
        return self.typed([self.tokens(value, self.column) for value in values])

    def typed(self, values: Sequence[Any]) -> Encoded:
        """Encode lists of tokens."""
        find, unseen, width = self.ids.get, self.unseen, self.width
        ids = [[find(token, unseen) for token in tokens[:width]] for tokens in values]
        factors = [self.factors[len(each)] for each in ids]
        padded = [each + [self.missing] * (width - len(each)) for each in ids]
        return Encoded(
            [*chain.from_iterable(zip(*padded, strict=True))],
            [*chain.from_iterable(zip(*factors, strict=True))],
        )
