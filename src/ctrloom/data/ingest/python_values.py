"""Casts of single Python values, for a few rows: what `data.ingest.cast` makes of them, in microseconds.

A value that a cast is not sure of raises `NotImplementedError`; Arrow's cast of the column then decides.
"""

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ctrloom.config import Multivalued, SourceConfig
from ctrloom.data.ingest.token_lists import elements_of
from ctrloom.data.ingest.tokens import numbers_in, text

_PLAIN = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_INT64 = range(-(2**63), 2**63)
_LONGEST = 100  # characters of the text of a number, spaces around it included


class MissingValues:
    """The missing values of a source: as text, as numbers, and as the text of these numbers."""

    def __init__(self, source: SourceConfig) -> None:
        numbers = numbers_in(pa.array(source.missing_values, pa.string()))
        self.texts = frozenset(source.missing_values)
        self.numbers = frozenset(numbers.to_pylist())
        self.number_texts = frozenset(text(numbers).to_pylist()) | self.texts


class PythonCast:
    """Casts for the columns of a source."""

    def __init__(self, source: SourceConfig) -> None:
        self.trim, self.missing = source.trim, MissingValues(source)

    def token(self, value: Any) -> str | None:
        """A token; None if missing."""
        kind = type(value)
        if kind is str:
            cell = self._trimmed(value)
            _require_text(cell)
            return None if cell in self.missing.texts else cell
        if value is None:
            return None
        found = typed_token(kind, value)
        return None if found in self.missing.number_texts else found

    def number(self, value: Any, plain: bool) -> float | None:
        """A finite number; None if missing. A `plain` column has no number format."""
        kind = type(value)
        if kind is float:
            found = value
        elif kind is int and value in _INT64:
            found = float(value)
        elif value is None:
            return None
        elif kind is str and plain and len(value) <= _LONGEST:  # `Buckets` keeps the text
            cell = self._trimmed(value)
            if cell in self.missing.texts:
                return None
            if not _PLAIN.fullmatch(cell):
                raise NotImplementedError
            found = float(cell)
        else:
            raise NotImplementedError
        if found != found:
            return None
        if found in self.missing.numbers:
            return None
        if found - found:  # infinite
            raise NotImplementedError
        return found

    def tokens(self, value: Any, column: Multivalued) -> Sequence[str]:
        """The tokens of a list."""
        kind, missing = type(value), self.missing.texts
        if value is None:
            return ()
        if kind is str:
            cell = self._trimmed(value)
            _require_text(cell)
            if cell in missing:
                return ()
            found = elements_of(cell) if column.format == "json" else cell.split(column.separator)
            if found is None:
                raise NotImplementedError
        elif kind is list or kind is tuple:
            kinds = {*map(type, value)} - {type(None)}
            if len(kinds) > 1:
                raise NotImplementedError
            if kinds and kinds != {str}:
                (element,) = kinds
                missing = self.missing.number_texts
                found = [each if each is None else typed_token(element, each) for each in value]
            else:
                found = value
                _require_text("".join(each for each in value if each))
        else:
            raise NotImplementedError
        return [each for each in found if each and each not in missing]

    def _trimmed(self, text: str) -> str:
        return text.strip(" ") if self.trim else text


def typed_token(kind: type, value: Any) -> str | None:
    """The text of a number or truth value as `tokens.text` has it."""
    if kind is int and value in _INT64:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is float:
        if value != value:
            return None
        if value.is_integer() and abs(value) < 2**63:
            return str(int(value))
        found: str = text(pa.array([value], pa.float64()))[0].as_py()
        return found
    raise NotImplementedError


def _require_text(text: str) -> None:
    """Raise NotImplementedError for text that is not Unicode, as surrogates are."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotImplementedError from None
