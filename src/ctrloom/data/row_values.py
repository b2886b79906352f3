"""Values of single columns of an encoded data set, for evaluation: fields, context columns, the day.

N rows of a split, K codes of values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ctrloom.config import Split
from ctrloom.config.base import ConfigError
from ctrloom.data.arrow.dictionary import encode_chunks
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.timestamps import local
from ctrloom.data.parquet.reader import read_parts
from ctrloom.data.vocabulary.encode import Vocabulary, load_vocabulary
from ctrloom.schema import FIRST_TOKEN_ID, Field, Schema

DAY, TIMESTAMP = "day", "timestamp"
MISSING, UNSEEN = "(missing)", "(unseen or rare)"
SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class RowValues:
    """One column of a split: the code of each row's value, and the text of each code.

    `single_K` is False for the codes of no single value: missing, and unseen or rare.
    """

    name: str
    code_N: NDArray[np.int64]
    text_K: pa.StringArray
    single_K: NDArray[np.bool_]

    def rows(self, chosen_N: NDArray[np.bool_] | slice) -> "RowValues":
        """Some of the rows."""
        return RowValues(self.name, self.code_N[chosen_N], self.text_K, self.single_K)


def readable(schema: Schema) -> tuple[str, ...]:
    """Columns whose values can be read: fields of ids, context columns, and the day of a timestamp."""
    fields = [field.name for field in schema.fields if field.kind == "categorical"]
    named = [*fields, *schema.source.named("context")]
    days = [DAY] if schema.source.named(TIMESTAMP) and DAY not in named else []
    return *named, *days


def require_readable(schema: Schema, names: Sequence[str], key: str) -> None:
    """Raise ConfigError for a column that cannot be read."""
    known = readable(schema)
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(
            f"{key}: the data set has no values of {unknown[0]!r}; choose from {', '.join(known)}, or give "
            "the column the kind context in data.columns"
        )


def row_values(dataset: Dataset, split: Split, name: str) -> RowValues:
    """A column of a split; `name` is one of `readable`.

    Raises:
        StorageError: an object cannot be read, or fails its checksum.
        DataError: a file cannot be read, or is corrupt.
    """
    if name in dataset.schema.names:
        field, vocabulary = _vocabulary(dataset, name)
        ids_N = np.concatenate([field.common(ids.to_numpy()) for ids in _stored(dataset, split, name)])
        text_K = pa.concat_arrays([pa.array([MISSING, UNSEEN]), vocabulary.tokens])
        return RowValues(name, ids_N.astype(np.int64), text_K, np.arange(len(text_K)) >= FIRST_TOKEN_ID)
    if name in dataset.schema.source.named("context"):
        encoded = encode_chunks(pa.chunked_array(_stored(dataset, split, name), pa.string()))
    else:
        zone = dataset.schema.source.timezone
        days = [_days(instants, zone).cast(pa.string()) for instants in _stored(dataset, split, TIMESTAMP)]
        encoded = encode_chunks(pa.chunked_array(days, pa.string()))
    known = len(encoded.dictionary)
    text_K = pa.concat_arrays([encoded.dictionary, pa.array([MISSING])])
    code_N = encoded.indices.fill_null(known).to_numpy().astype(np.int64)
    return RowValues(name, code_N, text_K, np.arange(len(text_K)) < known)


def texts(dataset: Dataset, split: Split, names: Sequence[str]) -> Iterator[list[pa.Array]]:
    """Some columns as they are, batch by batch in row order, with the label first and any weight second.

    Missing values are null, and so are unseen and rare values of a field; a day is a date.

    Raises:
        StorageError: an object cannot be read, or fails its checksum.
        DataError: a file cannot be read, or is corrupt.
    """
    schema = dataset.schema
    kinds = ["label", *(["weight"] if schema.source.named("weight") else [])]
    vocabularies = {name: _vocabulary(dataset, name) for name in names if name in schema.names}
    own = {name: name if name in _columns(schema) else TIMESTAMP for name in names}
    wanted = list(dict.fromkeys([*kinds, *own.values()]))
    for batch in read_parts(dataset.manifest.paths(dataset.base, split), wanted):
        columns = [batch.column(kind) for kind in kinds]
        for name, stored in own.items():
            values = batch.column(stored)
            if name in vocabularies:
                field, vocabulary = vocabularies[name]
                values = vocabulary.decode(pa.array(field.common(values.to_numpy())))
            columns.append(_days(values, schema.source.timezone) if name != stored else values)
        yield columns


def _columns(schema: Schema) -> set[str]:
    return {*schema.names, *schema.source.named("context")}


def _stored(dataset: Dataset, split: Split, name: str) -> list[pa.Array]:
    return [batch.column(name) for batch in read_parts(dataset.manifest.paths(dataset.base, split), [name])]


def _vocabulary(dataset: Dataset, name: str) -> tuple[Field, Vocabulary]:
    """A field and the vocabulary of its common values."""
    (field,) = (field for field in dataset.schema.fields if field.name == name)
    return field, load_vocabulary(dataset.base, field).first(field.size - FIRST_TOKEN_ID)


def _days(instants: pa.Array, zone: str) -> pa.Array:
    """The day, in a time zone, of instants in seconds since 1970."""
    return local(instants, zone).cast(pa.date32(), safe=False)
