"""A folder of predictions: one file per input, and a record of each, so that none is scored twice.

The record `_scores/<name>.json` is written after its file. A file whose record has another input, bundle or
columns, or which is not as it was written, is written again.
"""

import glob
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

from pydantic import Field

from ctrloom import storage
from ctrloom.config.base import ConfigError, StrictModel
from ctrloom.config.errors import UserError
from ctrloom.config.version import code_digest
from ctrloom.data.sources.files import is_stored, resolve
from ctrloom.serving.registry import version_name
from ctrloom.serving.value_shares import ValueCounts
from ctrloom.storage import Location, Place, StorageError

RECORDS = "_scores"  # other programs skip names with an underscore when they read a folder
_PACKED = re.compile(r"\.(gz|zst|bz2|lz4)$", re.I)
_FORMAT = re.compile(r"\.(csv|tsv|txt|parquet|libsvm|libffm|libfm|svm|ffm)$", re.I)
_MAGIC = re.compile(r"[*?[]")


class Counts(StrictModel):
    """What was found in some rows."""

    rows: int = Field(0, ge=0)
    malformed: int = Field(0, ge=0)
    first_malformed: str | None = None
    fields: dict[str, ValueCounts] = Field(default_factory=dict)


class ScoredFile(StrictModel):
    """The record of one file of predictions."""

    version: Literal[1] = 1
    input: str
    input_state: str  # see `state`
    output_state: str
    request: storage.Digest  # hash of all else that the predictions depend on
    counts: Counts


@dataclass(frozen=True)
class PredictionFile:
    """One file of a folder; `skipped` if it was there already, of the same input and bundle."""

    input: str
    output: str
    rows: int
    malformed: int
    skipped: bool


class PredictionFolder:
    """The folder, for the predictions of one bundle."""

    def __init__(self, at: Place, bundle: Path, keep: Sequence[str]) -> None:
        self.at = at
        asked = json.dumps([version_name(storage.described(bundle)), list(keep), code_digest()])
        self.request = hashlib.sha256(asked.encode()).hexdigest()

    def finished(self, name: str, input: str) -> Counts | None:
        """What was counted in the file `name`; None if it has to be written.

        Raises:
            StorageError: it has the predictions of another input.
        """
        try:
            record = storage.read_record(self._record(name), ScoredFile)
        except UserError:  # absent, damaged, or of another version
            return None
        is_same = bool(record.input_state) and record.input_state == state(input)
        if not is_same and record.input != _identity(input):
            raise StorageError(
                f"{self.at / name}: has the predictions of another file, {record.input}; write others "
                "to another folder, or put /./ before the part of the path that their name is to begin with"
            )
        if record.request != self.request or not is_same:
            return None
        return record.counts if record.output_state == state(self.at / name) else None

    def record(self, name: str, input: str, before: str, counts: Counts) -> None:
        """Record that the file `name` is complete; `before` is the state of its input when it was begun."""
        written = ScoredFile(
            input=_identity(input),
            input_state=before,
            output_state=state(self.at / name),
            request=self.request,
            counts=counts,
        )
        storage.write_record(self._record(name), written)

    def clean(self, name: str) -> None:
        """Delete temporary files of `name` that killed processes left; only while the folder is locked."""
        at = self.at / name
        if isinstance(at, Path):
            for left in at.parent.glob(f".{glob.escape(at.name)}.*.tmp"):
                left.unlink(missing_ok=True)

    def _record(self, name: str) -> Place:
        return self.at / RECORDS / f"{name}.json"


def _identity(input: str) -> str:
    """The place of an input: a path that does not depend on the current folder, a URL without its query."""
    if input.startswith(("http://", "https://")):
        return input.partition("?")[0]
    return input if "://" in input else str(Path(input).resolve())


def state(file: str | Place) -> str:
    """Hash of a local file, or generation of an object; empty for a URL of another kind."""
    if isinstance(file, str) and "://" in file and not is_stored(file):
        return ""
    at = storage.place(file)
    if isinstance(at, Location):
        try:
            return storage.find(at).generation
        except StorageError:
            return ""
    return storage.sha256(at) if at.is_file() else ""


def named(patterns: Iterable[str], format: str) -> dict[str, str]:
    """The files that match the patterns, each with the name of its predictions, which is unique.

    The name is that of the file, for a glob with the folders that the glob has chosen, or, where a pattern
    has `/./`, with all after that. So it does not depend on other files; equal ones get a hash of the path.

    Raises:
        DataError: no file matches a pattern.
        ConfigError: a file is given twice.
    """
    stems: dict[str, str] = {}
    for pattern in patterns:
        for path in resolve([without_marks(pattern)]):
            if path in stems:
                raise ConfigError(f"--input {path}: is given twice; it would have two files of predictions")
            stems[path] = _stem(path, pattern.removeprefix("file://"))
    return {path: f"{stem}.{format}" for path, stem in _unique(stems).items()}


def without_marks(pattern: str) -> str:
    """The pattern without `/./`, which no name in an object store has."""
    return pattern.replace("/./", "/")


def _unique(stems: Mapping[str, str]) -> dict[str, str]:
    times = Counter(stems.values())
    return {
        path: stem if times[stem] == 1 else f"{stem}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
        for path, stem in stems.items()
    }


def _stem(path: str, pattern: str) -> str:
    """The name of a file without its endings, and with its folders below the fixed part of the pattern."""
    if path.startswith(("http://", "https://")):
        path = pattern = urlparse(path).path
    base, mark, _ = pattern.partition("/./")
    if not mark:
        fixed = pattern if path == pattern else pattern[: _MAGIC.search(pattern).start()]  # type: ignore[union-attr]
        base = fixed.rpartition("/")[0]
    inside = path.removeprefix(f"{base}/") if base else path
    parts = [part for part in inside.split("/") if part not in ("", ".", "..")]
    whole = "/".join(parts) if path.startswith(base) else path.rpartition("/")[2]
    return _FORMAT.sub("", _PACKED.sub("", whole)) or "input"
