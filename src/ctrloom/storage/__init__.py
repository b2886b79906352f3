"""Where bytes are: folders and object stores, and writes that happen whole or not at all."""

import json
from pathlib import Path
from typing import Any

from ctrloom.storage.errors import ConflictError, StorageError
from ctrloom.storage.local import atomic_directory, atomic_file, sha256
from ctrloom.storage.location import Location, Place, place
from ctrloom.storage.transfer import download, folders, upload

__all__ = [
    "ConflictError",
    "Location",
    "Place",
    "StorageError",
    "atomic_directory",
    "atomic_file",
    "download",
    "folders",
    "place",
    "read_json",
    "sha256",
    "upload",
    "write_json",
    "write_text",
]


def read_json(path: str | Path) -> Any:
    """Parse one JSON file.

    Raises:
        StorageError: no such file, or no JSON in it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise StorageError(f"{path}: is not JSON: {error}") from None


def write_json(path: str | Path, value: Any) -> None:
    """Write one JSON file aside, then rename it into place."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Write one text file aside, then rename it into place."""
    with atomic_file(path) as aside:
        aside.write_text(text, encoding="utf-8")
