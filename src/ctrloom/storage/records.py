"""JSON records with a checksum of their own content, and of the files next to them.

The checksum covers the values, so formatting does not matter. A record without one was written by an older
version, or by hand, and is not verified.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import AfterValidator, Field

from ctrloom.config.base import ConfigError, StrictModel
from ctrloom.storage.errors import StorageError
from ctrloom.storage.json_files import as_json, parse_json, read_json, write_text
from ctrloom.storage.local import sha256
from ctrloom.storage.location import Place, stays_inside

CHECKSUM = "checksum"
AGAIN = "restore a copy of it, or write it again with the command that made it"

Model = TypeVar("Model", bound=StrictModel)
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _inside(path: str) -> str:
    if not stays_inside(path):
        raise ValueError("must be a path within the folder")
    return path


class DamagedError(StorageError):
    """A file is not as it was written; the message names it."""


class StoredFile(StrictModel):
    """One file of a folder."""

    path: Annotated[str, AfterValidator(_inside)]  # relative to the folder, with slashes
    bytes: int = Field(ge=0)
    sha256: Digest

    @classmethod
    def at(cls, path: Path, folder: Path) -> Self:
        """Describe a local file; reads it."""
        return cls(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=sha256(path))


class FolderRecord(StrictModel):
    """A record of a folder, with checksums of all its other files; None if an older version wrote it."""

    files: tuple[StoredFile, ...] | None = None


def as_record(record: StrictModel, **options: Any) -> str:
    """The text of a record, with its checksum; `options` are those of `model_dump`."""
    content = record.model_dump(mode="json", **options)
    return as_json({**content, CHECKSUM: _checksum(content)})


def write_record(path: str | Place, record: StrictModel, **options: Any) -> None:
    """Write a record atomically; `options` are those of `model_dump`."""
    write_text(path, as_record(record, **options))


def read_record(path: str | Place, cls: type[Model]) -> Model:
    """Read a record and verify its checksum.

    Raises:
        DamagedError: its content is not what was written.
        StorageError: the file is missing or not JSON.
        ConfigError: it does not have the keys and types of such a record, or is of a newer version.
    """
    return _verified(read_json(path), path, cls)


def record_of(content: bytes, where: object, cls: type[Model]) -> Model:
    """The record in the content of a file; raises what `read_record` raises."""
    return _verified(parse_json(content, where), where, cls)


def write_folder_record(path: Path, record: FolderRecord, **options: Any) -> None:
    """Write the record of a folder, with the checksums of all other files that are in it by now."""
    files = described(path.parent, path.name)
    write_record(path, record.model_copy(update={"files": files}), **options)


def described(folder: Path, but: str = "") -> tuple[StoredFile, ...]:
    """All files of a folder except one, in order; reads them."""
    return tuple(StoredFile.at(path, folder) for name, path in sorted(_files(folder).items()) if name != but)


def verify_files(folder: Path, files: Iterable[StoredFile] | None, record: str, under: str = "") -> None:
    """Check that a folder has exactly these files and the file `record`; hidden files do not matter.

    With `under`, the name of a folder in it, only files in that one are checked. Files that are None were
    written by an older version, without checksums.

    Raises:
        DamagedError: a file is missing, additional, or not as it was written.
    """
    if files is None:
        return
    inside = f"{under}/" if under else ""
    found = {name: path for name, path in _files(folder).items() if name.startswith(inside)}
    found.pop(record, None)
    for file in files:
        if file.path.startswith(inside):
            found.pop(file.path, None)
            verify_file(folder, file, record)
    if others := sorted(name for name in found if not any(part.startswith(".") for part in name.split("/"))):
        raise DamagedError(f"{folder / others[0]}: is not one of the files that {record} lists; remove it")


def verify_file(folder: Path, file: StoredFile, record: str) -> None:
    """Check one file of a folder.

    Raises:
        DamagedError: it is missing, or not as it was written.
    """
    path = folder / file.path
    if not path.is_file():
        raise DamagedError(f"{path}: is missing, but {record} lists it; {AGAIN}")
    differs = ""
    if (size := path.stat().st_size) != file.bytes:
        differs = f"it has {size} bytes instead of {file.bytes}"
    elif sha256(path) != file.sha256:
        differs = f"its checksum differs from that in {record}"
    if differs:
        raise DamagedError(f"{path}: was changed or damaged after it was written: {differs}; {AGAIN}")


def _verified(value: Any, where: object, cls: type[Model]) -> Model:
    if isinstance(value, dict) and CHECKSUM in value:
        content = {key: each for key, each in value.items() if key != CHECKSUM}
        if value[CHECKSUM] != _checksum(content):
            raise DamagedError(
                f"{where}: was changed or damaged after it was written: its checksum differs; {AGAIN} "
                f"(if you changed it yourself, remove the key {CHECKSUM!r})"
            )
        value = content
    _require_known_version(value, where, cls)
    try:
        return cls.parse(value, str(where))
    except ConfigError as error:
        problems = [line.removeprefix(f"{where}: ") for line in str(error).splitlines()]
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ConfigError(f"{where}: {'; '.join(problems[:3])}{more}") from None


def _require_known_version(value: Any, where: object, cls: type[StrictModel]) -> None:
    given = value.get("version") if isinstance(value, dict) else None
    known = get_args(cls.model_fields["version"].annotation) if "version" in cls.model_fields else ()
    if known and isinstance(given, int) and given > max(known):
        raise ConfigError(
            f"{where}: has version {given}, written by a newer ctrloom; this one reads version {max(known)}: "
            "upgrade ctrloom"
        )


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
