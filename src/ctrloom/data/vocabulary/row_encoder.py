"""Encodes a few rows of Python values, with the ids and factors that casts and `Encoder` give them.

N rows, C columns of the id matrix, F fields.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ctrloom.data.arrow.dictionary import plain
from ctrloom.data.ingest.cast import cast_column
from ctrloom.data.ingest.python_values import PythonCast
from ctrloom.data.sources.python_columns import column_of, read_texts
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.data.vocabulary.field_encoders import Encoded, FieldEncoder, field_encoder


class EncodedRows(NamedTuple):
    """Rows as models take them; ids are those of the fused table."""

    ids_NC: NDArray[np.int32]
    factors_NC: NDArray[np.float32] | None


class RowEncoder:
    """Prepared from an `Encoder`: Arrow's fixed costs for each column exceed those of scoring a row."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder, schema = encoder, encoder.schema
        self.source, self.has_factors = schema.source, schema.has_factors
        self.width = len(schema.field_of_column)
        python = PythonCast(schema.source)
        made = [
            (field, field_encoder(encoder, field, offset, python))
            for field, offset in zip(schema.fields, schema.offsets, strict=True)
        ]
        self.columns: list[tuple[str, list[tuple[str, FieldEncoder]]]] = [
            (column, [(field.name, each) for field, each in group])
            for column, group in groupby(made, lambda pair: pair[0].column)
        ]
        self.timestamps = {*schema.source.named("timestamp")}

    def __reduce__(self) -> tuple[type[Self], tuple[Encoder]]:
        """Copies, also those of other processes, are made from the encoder, without its tables."""
        return type(self), (self.encoder,)

    def encode(self, rows: Sequence[Mapping[str, Any]]) -> EncodedRows | None:
        """Encode rows; None if one may be malformed, or all lack every column."""
        if not any(name in row for row in rows for name, _ in self.columns):
            return None
        return self.encode_columns({name: [row.get(name) for row in rows] for name, _ in self.columns})

    def encode_columns(self, columns: Mapping[str, Sequence[Any]]) -> EncodedRows | None:
        """Encode raw columns, of which none is absent; None if a row may be malformed."""
        if self.source.has_indices:
            return None
        found = list[Encoded]()
        for name, fields in self.columns:
            values = columns[name]
            encoded = self._quickly(name, values, fields)
            if encoded is None and (encoded := self._by_arrow(name, values, fields)) is None:
                return None
            found += encoded
        return self._joined(found)

    def encode_typed(self, rows: pa.RecordBatch) -> EncodedRows:
        """Encode typed rows, as `Encoder.encode` does, but without a hash table of each vocabulary."""
        return self._joined(
            [
                encoder.typed(plain(rows.column(field)).to_pylist())
                for _, fields in self.columns
                for field, encoder in fields
            ]
        )

    def _quickly(
        self, name: str, values: Sequence[Any], fields: Sequence[tuple[str, FieldEncoder]]
    ) -> list[Encoded] | None:
        if name in self.timestamps:
            return None
        try:
            return [encoder.raw(values) for _, encoder in fields]
        except NotImplementedError:
            return None

    def _by_arrow(
        self, name: str, values: Sequence[Any], fields: Sequence[tuple[str, FieldEncoder]]
    ) -> list[Encoded] | None:
        raw, faults = column_of(name, values)
        raw, more = read_texts(name, raw, self.source)
        typed = None if faults or more else cast_column(name, raw, self.source)
        if typed is None:
            return None
        return [encoder.typed(typed[field].to_pylist()) for field, encoder in fields]

    def _joined(self, fields: Sequence[Encoded]) -> EncodedRows:
        ids, factors = list[int](), list[float]()
        for each in fields:
            ids += each.ids
            if self.has_factors:
                factors += each.factors or [1.0] * len(each.ids)
        return EncodedRows(
            self._matrix(ids, np.int32), self._matrix(factors, np.float32) if self.has_factors else None
        )

    def _matrix(self, columns: list[Any], kind: Any) -> NDArray[Any]:
        return np.ascontiguousarray(np.array(columns, kind).reshape(self.width, -1).T)
