"""Manifests of data sets: the small files that pipeline steps exchange."""

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ctrloom import storage
from ctrloom.config import SPLITS, RandomSplit, SourceConfig, Split, TimeSplit, VocabularyConfig
from ctrloom.config.base import StrictModel
from ctrloom.data.errors import DamagedDataError
from ctrloom.data.parquet import verified
from ctrloom.storage import Place, Written

CountedKind = Literal["tokens", "numbers"]


class SourceFile(StrictModel):
    """One file that rows were read from."""

    split: Split
    path: str
    bytes: int
    sha256: str


class PartFile(storage.StoredFile):
    """One file of a data set; the path is relative to its directory."""

    rows: int = Field(ge=0, le=1 << 48)
    seal: storage.Digest | None = None  # of Parquet: see `Written`; missing in old manifests

    @classmethod
    def of(cls, base: Place, written: Written, rows: int) -> Self:
        """Describe a file that was written."""
        path, seal = storage.relative(written.at, base), written.seal or None
        return cls(path=path, rows=rows, bytes=written.bytes, sha256=written.sha256, seal=seal)

    def require_unchanged(self, base: Place) -> None:
        """Check that the file is the one that was written, by its footer; its rows are checked when read.

        Raises:
            StorageError: it is damaged, or cannot be read.
            DamagedDataError: it is another file.
        """
        if self.seal:
            self.require_seal(base, verified.Verified(base / self.path).seal)

    def require_seal(self, base: Place, found: str) -> None:
        """Check the seal of the file that was opened; see `require_unchanged`."""
        if self.seal and found != self.seal:
            raise DamagedDataError(
                f"{base / self.path}: is not the file that was written with this data set, but another; "
                "delete the folder of this data set and create it again"
            )


class Manifest(StrictModel):
    """Common fields of the manifests of ingested and encoded data sets."""

    version: Literal[1] = 1
    base: str  # directory or URL of the files; if missing, the directory of the manifest
    data_fingerprint: str
    code_version: str
    split: RandomSplit | TimeSplit
    sources: tuple[SourceFile, ...]
    rows: dict[Split, int]
    days: tuple[date, date] | None = None  # the first and the last, UTC, of rows with a timestamp
    files: dict[Split, tuple[PartFile, ...]]

    @classmethod
    def load(cls, path: str | Place) -> tuple[Self, Place]:
        """Read a manifest and find the directory of its files.

        Raises:
            StorageError: the file is missing or not JSON.
            DamagedDataError: it is of another kind, or its files are neither at `base` nor next to it.
        """
        path = storage.place(path)
        if path.suffix != ".json" and (not isinstance(path, Path) or path.is_dir()):
            path = path / "manifest.json"
        try:
            manifest = storage.read_record(path, cls)
        except ValueError as error:
            if isinstance(error, storage.StorageError):
                raise
            said = str(error).removeprefix(f"{path}: ")
            raise DamagedDataError(f"{path}: is not a manifest of {cls._what()}: {said}") from None
        bases = (storage.place(manifest.base), path.resolve().parent)
        listed = {part.path: part.bytes for parts in manifest.files.values() for part in parts}
        for base in bases:
            found = storage.sizes(base, listed)
            if found == listed:
                return manifest, base
            if other := next((name for name in found if found[name] != listed[name]), None):
                raise DamagedDataError(
                    f"{base / other}: was changed after it was written: {found[other]} bytes instead of "
                    f"{listed[other]}; delete the folder of this data set and create it again"
                )
        raise DamagedDataError(
            f"{path}: the files it lists are neither in {bases[0]} nor next to it; "
            f"move the whole directory, or create {cls._what()} again"
        )

    def paths(self, base: Place, split: Split) -> list[Place]:
        """The Parquet files of one split.

        Raises:
            StorageError: one is damaged, or cannot be read.
            DamagedDataError: one is not the file that was written.
        """
        for part in self.files[split]:
            part.require_unchanged(base)
        return [base / part.path for part in self.files[split]]

    @model_validator(mode="after")
    def _check_splits(self) -> Self:
        for split in SPLITS:
            if split not in self.rows or split not in self.files:
                raise ValueError(f"rows and files: must have the split {split!r}")
            listed = sum(part.rows for part in self.files[split])
            if listed != self.rows[split]:
                raise ValueError(f"rows.{split}: is {self.rows[split]:,}, but the files have {listed:,} rows")
        return self

    @classmethod
    def _what(cls) -> str:
        raise NotImplementedError


class IngestedManifest(Manifest):
    """Typed, split, clean rows."""

    kind: Literal["ingested"] = "ingested"
    source: SourceConfig
    positives: dict[Split, int]
    quarantined: int
    dropped: int
    thinned: int = 0  # negative rows dropped, see `negatives_kept`
    counts: dict[CountedKind, tuple[PartFile, ...]] | None = None  # missing in old manifests
    negatives_kept: dict[Split, float] = Field(default_factory=dict)  # share per split; default 1

    @classmethod
    def _what(cls) -> str:
        return "ingested data (`ctrloom ingest`)"


class EncodedManifest(Manifest):
    """Rows of ids, with their schema and vocabularies."""

    kind: Literal["encoded"] = "encoded"
    schema_fingerprint: str
    ingested_fingerprint: str
    vocabulary: VocabularyConfig
    encoder: tuple[PartFile, ...]  # schema.json, vocabularies and crosses

    @classmethod
    def _what(cls) -> str:
        return "encoded data (`ctrloom vocabulary`)"


def write_section(base: Place, name: str, section: StrictModel) -> PartFile:
    """Write a JSON file of a data set; returns its description."""
    text = storage.as_record(section)
    with storage.writing(base / name) as written:
        written.sink.write(text.encode())
    return PartFile.of(base, written, rows=0)


def fingerprint(value: Any) -> str:
    """SHA-256 of a JSON-serialisable value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
