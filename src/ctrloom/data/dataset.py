"""An encoded data set: schema, fingerprints, and the rows of its splits."""

from typing import NamedTuple, Self

import numpy as np

from ctrloom.config import Split
from ctrloom.data.batches.batch import Batch, Shard
from ctrloom.data.batches.stream import RowGroup, Stream, row_groups_of
from ctrloom.data.batches.tensors import BatchFiller, row_bytes
from ctrloom.data.errors import DamagedDataError
from ctrloom.data.manifest import EncodedManifest
from ctrloom.data.parquet.reader import read_parts
from ctrloom.data.threads import map_in_threads
from ctrloom.data.vocabulary.encode import Encoder, load_schema
from ctrloom.data.vocabulary.stored_crosses import StoredCrosses
from ctrloom.schema import CrossKeys, Schema, SchemaMismatchError
from ctrloom.storage import Place


class Counted(NamedTuple):
    """Rows of a split that have a weight, those of them whose label is 1, and the weighted share of these."""

    rows: int
    clicks: int
    label_rate: float


class Dataset:
    """Encoded rows of all splits, with their schema and vocabularies."""

    def __init__(self, manifest: EncodedManifest, base: Place, schema: Schema) -> None:
        self.manifest, self.base, self.schema = manifest, base, schema

    @classmethod
    def open(cls, manifest: str | Place) -> Self:
        """Read a manifest (or the directory that contains one) without reading rows.

        Raises:
            StorageError: the manifest is missing.
            DamagedDataError: it is not a manifest of encoded data, or its files are missing.
        """
        loaded, base = EncodedManifest.load(manifest)
        schema = load_schema(base)
        if schema.fingerprint != loaded.schema_fingerprint:
            raise DamagedDataError(f"{base / 'schema.json'}: is not the schema that {manifest} names")
        return cls(loaded, base, schema)

    @property
    def data_fingerprint(self) -> str:
        """SHA-256 over schema, sources and split."""
        return self.manifest.data_fingerprint

    @property
    def path(self) -> Place:
        """The manifest."""
        return self.base / "manifest.json"

    @property
    def directory(self) -> Place:
        """The directory of `schema.json`, `vocabulary/`, `crosses/` and one folder per split."""
        return self.base

    @property
    def vocabulary_directory(self) -> Place:
        """The directory of the vocabularies, one Parquet file per field."""
        return self.base / "vocabulary"

    def encoder(self) -> Encoder:
        """The encoder that made these rows."""
        return Encoder.load(self.base)

    def require_same(self, data_fingerprint: str, schema_fingerprint: str, what: str) -> None:
        """Raise SchemaMismatchError unless `what` was made from this data set with the same split."""
        if (data_fingerprint, schema_fingerprint) == (self.data_fingerprint, self.schema.fingerprint):
            return
        differs = "schema" if schema_fingerprint != self.schema.fingerprint else "rows or split"
        raise SchemaMismatchError(
            f"{what} was made from another data set: its {differs} differ from those of {self.base}; "
            "search, train and evaluate on one data set"
        )

    def crosses(self) -> CrossKeys:
        """Keys of all crossed pairs; empty if `vocabulary.crosses` was not set."""
        return StoredCrosses(self.base, self.schema.crosses)

    def rows_in(self, split: Split) -> int:
        """Number of rows of one split."""
        return self.manifest.rows[split]

    def rows(self, split: Split, number: int = 0, of: int = 1) -> Batch:
        """All rows of one split on the CPU, or part `number` of `of` equal parts; only that part is read.

        Raises:
            StorageError: an object cannot be read, or fails its checksum.
            DamagedDataError: a file cannot be read, or is corrupt.
        """
        total = self.rows_in(split)
        span = range(total * number // of, total * (number + 1) // of)
        filler = BatchFiller(self.schema, len(span), self._extra)
        for batches in map_in_threads(RowGroup.read, self._row_groups(split, span)):
            for batch in batches:
                filler.add(batch)
        return filler.batch() if of == 1 else Shard.of(filler.batch(), span.start, total)

    def stream(self, split: Split) -> Stream:
        """All rows of one split, read from disk in every epoch.

        Raises:
            StorageError: an object cannot be read, or fails its checksum.
            DamagedDataError: a file cannot be read, or is corrupt.
        """
        return Stream(self.schema, self._extra, self._row_groups(split, range(self.rows_in(split))))

    def counted(self, split: Split) -> Counted:
        """Counts of the rows of one split that have a weight."""
        rows, clicks, total, clicked = 0, 0, 0.0, 0.0
        for batch in read_parts(self.manifest.paths(self.base, split), self._extra):
            label = batch.column("label").to_numpy()
            weight = batch.column("weight").to_numpy() if "weight" in self._extra else np.ones(len(label))
            rows += int(np.count_nonzero(weight))
            clicks += int(np.count_nonzero(label[weight != 0]))
            total += float(weight.sum(dtype=np.float64))
            clicked += float(weight.astype(np.float64) @ label)
        return Counted(rows, clicks, clicked / total if total else 0.0)

    def row_bytes(self) -> int:
        """Memory of one row."""
        return row_bytes(self.schema, self._extra)

    @property
    def _extra(self) -> list[str]:
        return [kind for kind in ("label", "weight") if self.schema.source.named(kind)]

    def _row_groups(self, split: Split, span: range) -> list[RowGroup]:
        """The row groups that overlap a span of rows, cut to the span."""
        found, start = [], 0
        for part in self.manifest.files[split]:
            if here := range(max(span.start - start, 0), min(span.stop - start, part.rows)):
                found += row_groups_of(self.base, part, here)
            start += part.rows
        return found
