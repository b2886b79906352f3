"""Model bundles under one URL: immutable versions, one of them the champion.

`versions/<version>/version.json` is written last: without it a version is incomplete. `champion.json` names
the promoted version, and is replaced by compare-and-swap.
"""

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from ctrloom import storage
from ctrloom.config.base import StrictModel
from ctrloom.config.errors import UserError
from ctrloom.storage import ConflictError, Place, objects

FILES = "bundle"


class RegistryError(UserError):
    """A registry operation failed; the message names the registry and how to fix it."""


class PromotionConflictError(RegistryError):
    """Another promotion came first; the message names its version."""


class Version(StrictModel):
    """`version.json`: a model bundle with its metrics and provenance."""

    version: str  # hash of its content: equal bundles have one version
    created: datetime
    files: tuple[storage.StoredFile, ...]
    metrics: dict[str, Any]
    provenance: dict[str, Any]


class Champion(StrictModel):
    """`champion.json`: the promoted version."""

    version: str
    previous: str | None
    promoted: datetime
    promotion: str  # unique id: one version may be promoted twice


class Registry:
    """Versions and champion under a URL: file://, gs:// or s3://, or a path."""

    def __init__(self, url: str | Place) -> None:
        self.base = storage.place(url)

    def add(self, bundle: Path, metrics: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
        """Add a bundle (a folder) as a version; an existing version stays unchanged.

        Raises:
            RegistryError: `bundle` is no folder of files.
            StorageError: the registry cannot be written.
        """
        files = storage.described(bundle)
        if not files:
            raise RegistryError(f"{bundle}: has no files; give the folder of a model bundle")
        name = version_name(files)
        record = self._record(name)
        if objects.read(record):
            return name
        storage.upload(bundle, record.parent / FILES)
        version = Version(
            version=name,
            created=datetime.now(UTC),
            files=files,
            metrics=dict(metrics),
            provenance=dict(provenance),
        )
        with suppress(ConflictError):  # another process added the same bundle
            objects.replace(record, storage.as_record(version).encode(), expected=None)
        return name

    def versions(self) -> list[Version]:
        """All versions, the oldest first."""
        names = storage.folders(self.base / "versions")
        found = [self._read(name) for name in names]  # without a record: incomplete
        return sorted((version for version in found if version), key=lambda v: (v.created, v.version))

    def version(self, name: str) -> Version:
        """One version.

        Raises:
            RegistryError: there is no such version.
        """
        if version := self._read(name):
            return version
        known = ", ".join(version.version for version in self.versions()) or "none"
        raise RegistryError(f"{self.base}: has no version {name!r}; its versions are {known}")

    def champion(self) -> tuple[str, str] | None:
        """Name of the promoted version and the generation of its promotion; None before the first."""
        found = self._champion()
        return found and (found[0].version, found[1])

    def record(self) -> Champion | None:
        """The current promotion."""
        found = self._champion()
        return found and found[0]

    def promote(self, name: str, expected: str | None) -> str:
        """Make a version the champion if `expected` is still the current generation; see `champion`.

        Returns the generation of the new promotion.

        Raises:
            PromotionConflictError: another promotion came first.
            RegistryError: there is no such version.
        """
        self.version(name)
        found = self._champion()
        if (found and found[1]) != expected:
            raise self._lost(name)
        previous = found and found[0].version
        if found and previous == name:  # a step that was killed after it had promoted runs again
            previous = found[0].previous
        champion = Champion(
            version=name, previous=previous, promoted=datetime.now(UTC), promotion=uuid.uuid4().hex
        )
        try:
            return objects.replace(self._place, storage.as_record(champion).encode(), expected)
        except ConflictError:
            raise self._lost(name) from None

    def fetch(self, name: str, to: Path) -> Path:
        """Copy the bundle of a version to the folder `to` atomically.

        Raises:
            RegistryError: there is no such version, or its files have changed.
        """
        version = self.version(name)
        own = {PurePosixPath(file.path).parts[0] for file in version.files}
        with storage.atomic_directory(to, *own) as temporary:
            storage.download(self._record(name).parent / FILES, temporary)
            found = {
                str(path.relative_to(temporary)): path for path in temporary.rglob("*") if path.is_file()
            }
            for file in version.files:
                if file.path not in found or storage.sha256(found.pop(file.path)) != file.sha256:
                    raise RegistryError(
                        f"{self.base}: {file.path} of version {name} is not the file that was added; "
                        "promote another version"
                    )
            for path in found.values():  # left by an interrupted upload
                path.unlink()
        return to

    @property
    def _place(self) -> Place:
        return self.base / "champion.json"

    def _record(self, name: str) -> Place:
        return self.base / "versions" / name / "version.json"

    def _read(self, name: str) -> Version | None:
        stored = objects.read(self._record(name))
        if stored is None:
            return None
        version = storage.record_of(stored.content, self._record(name), Version)
        if not version.version == name == version_name(version.files):
            raise storage.DamagedError(
                f"{self._record(name)}: does not have the files of version {name}; promote another version"
            )
        return version

    def _champion(self) -> tuple[Champion, str] | None:
        stored = objects.read(self._place)
        if stored is None:
            return None
        return storage.record_of(stored.content, self._place, Champion), stored.generation

    def _lost(self, name: str) -> PromotionConflictError:
        won = self.record()
        who = (
            f"{won.version} became champion at {won.promoted:%Y-%m-%d %H:%M:%S} UTC"
            if won
            else "the champion was removed"
        )
        return PromotionConflictError(
            f"{self.base}: {name} was not promoted: {who} meanwhile; "
            "compare with the current champion and promote again"
        )


def version_name(files: Iterable[storage.StoredFile]) -> str:
    """The version of a bundle with these files: a hash of its content."""
    return hashlib.sha256("\n".join(f"{f.sha256} {f.path}" for f in files).encode()).hexdigest()[:12]
