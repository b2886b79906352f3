"""Encodes typed rows to ids, with a schema and vocabularies fitted on the training split."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from typing import NamedTuple, Self
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom import storage
from ctrloom.config import Keep
from ctrloom.data.arrow.dictionary import dictionary_encode, is_dictionary, plain
from ctrloom.data.arrow.take import filled, taken
from ctrloom.data.errors import DamagedDataError
from ctrloom.data.ingest.cast import typed_schema
from ctrloom.data.manifest import PartFile, write_section
from ctrloom.data.parquet.reader import PartReader, read_table
from ctrloom.data.parquet.writer import GROUP_ROWS, in_groups, table_writer
from ctrloom.data.threads import map_in_threads
from ctrloom.data.vocabulary.bucketing import bucket_labels, codes, scaled
from ctrloom.progress import Advance
from ctrloom.schema import FIRST_TOKEN_ID, MISSING_ID, UNSEEN_ID, Field, Schema
from ctrloom.storage import Place

SLAB_GROUPS = 4  # row groups encoded together, with one hash table per vocabulary
_VOCABULARY = pa.schema([("token", pa.string()), ("count", pa.int64())])
_COLUMN = {"categorical": pa.int32(), "numeric": pa.float32(), "multivalued": pa.list_(pa.int32())}


@dataclass(frozen=True)
class Vocabulary:
    """Tokens of one field in id order, starting at id 2, and their training counts."""

    tokens: pa.StringArray
    counts: pa.Int64Array

    def __len__(self) -> int:
        return len(self.tokens)

    def first(self, count: int) -> "Vocabulary":
        """The first tokens in id order."""
        return Vocabulary(self.tokens[:count], self.counts[:count])

    @property
    def total(self) -> int:
        """Sum of the counts."""
        return int(self.counts.to_numpy().sum())

    @property
    def digest(self) -> str:
        """SHA-256 over the tokens in id order."""
        sizes = pc.binary_length(self.tokens).to_numpy().astype("<i4")
        _, offsets, data = self.tokens.buffers()
        first, last = np.frombuffer(offsets, np.int32)[[self.tokens.offset, self.tokens.offset + len(self)]]
        digest = hashlib.sha256(sizes.tobytes())
        digest.update(memoryview(data)[first:last] if data else b"")
        return digest.hexdigest()

    def ids(self, tokens: pa.ChunkedArray) -> pa.Int32Array:
        """Id of each token: 0 for null, 1 for an unknown token."""
        places = pc.index_in(tokens, value_set=self.tokens).combine_chunks()
        id_N = filled(places, UNSEEN_ID - FIRST_TOKEN_ID) + np.int32(FIRST_TOKEN_ID)
        if tokens.null_count:
            id_N[tokens.is_null().to_numpy()] = MISSING_ID
        return pa.array(id_N)

    def decode(self, ids: pa.Array) -> pa.StringArray:
        """Token of each id; null for the reserved ones."""
        places = pc.subtract(ids, FIRST_TOKEN_ID)
        return self.tokens.take(pc.if_else(pc.greater_equal(places, 0), places, None))


def vocabulary_file(field: str) -> str:
    """Path of a field's vocabulary in a data set or bundle; safe for any field name."""
    return f"vocabulary/{quote(field, safe='')}.parquet"


def load_schema(directory: Place) -> Schema:
    """Read `schema.json` of an encoded data set or a model bundle.

    Raises:
        StorageError: the file is missing.
    """
    return storage.read_record(directory / "schema.json", Schema)


class _Slab(NamedTuple):
    """Row groups of a part that are encoded together."""

    part: PartFile
    reader: PartReader
    spans: list[range]


class Encoder:
    """Encodes typed rows (see `data.ingest.cast`) to ids; unknown tokens get the unseen id."""

    def __init__(self, schema: Schema, vocabularies: Mapping[str, Vocabulary]) -> None:
        self.schema, self.vocabularies = schema, dict(vocabularies)

    @classmethod
    def load(cls, directory: str | Place) -> Self:
        """Read `schema.json` and `vocabulary/` of an encoded data set or a model bundle.

        Raises:
            StorageError: `schema.json` is missing.
            DamagedDataError: a vocabulary is missing or does not match the schema.
        """
        directory = storage.place(directory)
        schema = load_schema(directory)
        tokens = [field for field in schema.fields if field.kind != "numeric"]
        return cls(schema, {field.name: load_vocabulary(directory, field) for field in tokens})

    def save(self, directory: str | Place) -> list[PartFile]:
        """Write `schema.json` and `vocabulary/`; returns the files."""
        directory = storage.place(directory)
        files = [write_section(directory, "schema.json", self.schema)]
        for name, vocabulary in self.vocabularies.items():
            ids = np.arange(FIRST_TOKEN_ID, FIRST_TOKEN_ID + len(vocabulary), dtype=np.int32)
            columns = {"token": vocabulary.tokens, "id": pa.array(ids), "count": vocabulary.counts}
            table = pa.table(columns)
            with table_writer(directory / vocabulary_file(name), table.schema) as (writer, written):
                writer.write_table(table)
            files.append(PartFile.of(directory, written, len(vocabulary)))
        return files

    @property
    def arrow_schema(self) -> pa.Schema:
        """Columns of encoded rows, one per field."""
        # Columns that cannot be null need no validity data in the file.
        return pa.schema(
            [pa.field(f.name, _COLUMN[f.kind], nullable=f.kind == "numeric") for f in self.schema.fields]
        )

    def encode(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Encoded columns of typed rows: ids per field, starting at 0, and scaled numbers.

        Missing numbers stay null; rows of a multi-valued field have at most `width` ids.
        """
        (encoded,) = self.encode_all([rows])
        return encoded

    def encode_all(self, batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
        """Encode several batches; each vocabulary is hashed once for all of them."""
        columns = [
            self._columns(field, [batch.column(field.name) for batch in batches])
            for field in self.schema.fields
        ]
        return [
            pa.RecordBatch.from_arrays(list(each), schema=self.arrow_schema)
            for each in zip(*columns, strict=True)
        ]

    def _columns(self, field: Field, columns: Sequence[pa.Array]) -> list[pa.Array]:
        if field.kind == "multivalued":
            sizes = [pc.list_value_length(values).to_numpy() for values in columns]
            flat = self._ids(field, [pc.list_flatten(values) for values in columns])
            return [truncated(ids, size, field.width) for ids, size in zip(flat, sizes, strict=True)]
        if isinstance(field.bucketing, Keep):
            return [_kept(field.bucketing, field.boundaries, plain(values)) for values in columns]
        columns = [
            values if pa.types.is_string(values.type) else dictionary_encode(values) for values in columns
        ]
        different = [values.dictionary if is_dictionary(values.type) else values for values in columns]
        pairs = zip(self._ids(field, different), columns, strict=True)
        return [_at(ids, values.indices) if is_dictionary(values.type) else ids for ids, values in pairs]

    def _ids(self, field: Field, groups: Sequence[pa.Array]) -> list[pa.Int32Array]:
        """Ids of the tokens or numbers of each group, in one lookup."""
        ids = self._ids_of(field, pa.chunked_array(groups))
        stops = np.cumsum([len(group) for group in groups])
        return [ids.slice(stop - len(group), len(group)) for group, stop in zip(groups, stops, strict=True)]

    def _ids_of(self, field: Field, values: pa.ChunkedArray) -> pa.Int32Array:
        """Ids of values of a field: tokens, or numbers by bucket."""
        if field.bucketing is None:
            return self.vocabularies[field.name].ids(values)
        bucket = codes(field.bucketing, field.boundaries, values.to_numpy())
        found, place = np.unique(bucket, return_inverse=True)
        labels = bucket_labels(field.bucketing, field.boundaries, found.tolist())
        ids = self.vocabularies[field.name].ids(pa.chunked_array([labels], pa.string()))
        return ids.take(pa.array(place))


def encode_parts(
    encoder: Encoder, base: Place, folder: Place, parts: Sequence[PartFile], advance: Advance
) -> list[PartFile]:
    """Encode Parquet files of typed rows in `base`, with labels, to files of the same names in `folder`."""
    source = encoder.schema.source
    extra = [name for name in ("label", "weight", "timestamp") if source.named(name)]
    extra += source.named("context")
    typed = typed_schema(source)
    schema = pa.schema([*encoder.arrow_schema, *(typed.field(name) for name in extra)])
    tokens = [field.name for field in typed if pa.types.is_string(field.type)]

    def group(slab: _Slab, span: range) -> pa.RecordBatch:
        rows = pa.Table.from_batches(slab.reader.rows(span, tokens))
        (batch,) = rows.unify_dictionaries().combine_chunks().to_batches()
        return batch

    def encoded(slab: _Slab) -> tuple[PartFile, list[pa.RecordBatch]]:
        if not slab.spans:
            return slab.part, []
        groups = [group(slab, span) for span in slab.spans]
        others = ([plain(rows.column(name)) for name in extra] for rows in groups)
        return slab.part, [
            pa.RecordBatch.from_arrays(ids.columns + other, schema=schema)
            for ids, other in zip(encoder.encode_all(groups), others, strict=True)
        ]

    done: list[PartFile] = []
    for part, slabs in groupby(map_in_threads(encoded, _slabs(base, parts)), key=itemgetter(0)):
        with table_writer(folder / part.path, schema) as (writer, written):
            for batch in in_groups(chain.from_iterable(batches for _, batches in slabs), GROUP_ROWS):
                writer.write_batch(batch)
                advance(len(batch))
        done.append(PartFile.of(folder, written, part.rows))
    return done


def _slabs(base: Place, parts: Sequence[PartFile]) -> Iterator[_Slab]:
    """Slabs of all parts; a part without rows has one empty slab."""
    for part in parts:
        reader = PartReader(base / part.path)
        part.require_seal(base, reader.known.seal)
        spans = list(filter(len, reader.spans))
        for at in range(0, max(len(spans), 1), SLAB_GROUPS):
            yield _Slab(part, reader, spans[at : at + SLAB_GROUPS])


def truncated(flat: pa.Array, sizes: np.ndarray, width: int) -> pa.ListArray:
    """Lists of the given sizes over `flat`, truncated to `width` values."""
    if len(sizes) and sizes.max() > width:
        starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
        flat = flat.filter(pa.array(np.arange(len(flat)) - starts < width))
        sizes = np.minimum(sizes, width)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)


def _at(ids: pa.Int32Array, places: pa.Array) -> pa.Int32Array:
    """The ids at `places`; null gives the missing id."""
    if places.null_count:
        places = pa.array(filled(places, len(ids)))
        ids = pa.concat_arrays([ids, pa.array([MISSING_ID], pa.int32())])
    return taken(ids, places)


def _kept(method: Keep, boundaries: tuple[float, ...], values: pa.Array) -> pa.Array:
    """Scaled numbers; nulls stay null."""
    numbers = scaled(method, boundaries, values.drop_null().to_numpy())
    places = np.cumsum(values.is_valid().to_numpy(zero_copy_only=False)) - 1
    return pa.array(numbers).take(pc.if_else(values.is_valid(), pa.array(places), None))


def load_vocabulary(directory: Place, field: Field) -> Vocabulary:
    """Read the vocabulary of one field.

    Raises:
        StorageError: it fails its checksum.
        DamagedDataError: it is missing or does not match the schema.
    """
    path = directory / vocabulary_file(field.name)
    try:
        table = read_table(path, _VOCABULARY.names).combine_chunks()
    except DamagedDataError as error:
        reason = error.__cause__ or error
        raise DamagedDataError(
            f"{path}: the vocabulary of field {field.name!r} cannot be read: {reason}"
        ) from None
    fits = table.schema.equals(_VOCABULARY) and not any(column.null_count for column in table.columns)
    vocabulary = Vocabulary(*map(_one_array, table.columns)) if fits else None
    if vocabulary is None or vocabulary.digest != field.vocabulary_digest:
        raise DamagedDataError(
            f"{path}: the vocabulary of field {field.name!r} is not the one in schema.json; "
            "copy both from one data set"
        )
    return vocabulary


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)
