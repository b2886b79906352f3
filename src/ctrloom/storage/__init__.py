"""Storage in local folders and object stores, with atomic writes."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ctrloom.storage import objects
from ctrloom.storage.clients import client
from ctrloom.storage.errors import ConflictError, StorageError, explained
from ctrloom.storage.local import atomic_directory, atomic_file, scratch_directory, sha256
from ctrloom.storage.location import Location, Place, place, relative
from ctrloom.storage.remote import Listed
from ctrloom.storage.stream import Written, find, patiently, read_range, writing
from ctrloom.storage.transfer import cached, download, folders, get, holds, objects_in, put, upload

__all__ = [
    "ConflictError",
    "Listed",
    "Location",
    "Place",
    "StorageError",
    "Written",
    "as_json",
    "atomic_directory",
    "atomic_file",
    "cached",
    "download",
    "exists",
    "explained",
    "find",
    "folders",
    "get",
    "holds",
    "new_directory",
    "objects_in",
    "patiently",
    "place",
    "put",
    "read_json",
    "read_range",
    "relative",
    "scratch",
    "scratch_directory",
    "sha256",
    "upload",
    "write_json",
    "write_text",
    "writing",
]


def read_json(path: str | Place) -> Any:
    """Parse one JSON file.

    Raises:
        StorageError: the file is missing or not JSON.
    """
    path = place(path)
    try:
        return json.loads(_text(path))
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from None
    except StorageError:
        raise
    except ValueError as error:
        raise StorageError(f"{path}: is not JSON: {error}") from None


def write_json(path: str | Place, value: Any) -> None:
    """Write one JSON file atomically."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """Serialise a value in the format of all JSON files."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def write_text(path: str | Place, text: str) -> None:
    """Write one text file atomically."""
    path = place(path)
    if isinstance(path, Location):
        client(path).write(path, text.encode())
        return
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def exists(path: Place) -> bool:
    """True if the file exists.

    Raises:
        StorageError: the store cannot be queried.
    """
    return objects.read(path) is not None if isinstance(path, Location) else path.is_file()


@contextmanager
def new_directory(path: Place) -> Iterator[Place]:
    """Yield a directory to fill that becomes `path` atomically.

    A local directory is written to a temporary one and renamed. Under a URL the objects are written in place,
    so the file that marks the directory as complete (a manifest) must be written last.
    """
    if isinstance(path, Location):
        yield path
        return
    with atomic_directory(path) as temporary:
        yield temporary


def scratch(store: Place) -> Path:
    """A local folder for temporary files of work on `store`; it exists."""
    if isinstance(store, Location):
        return Path(tempfile.gettempdir())
    store.mkdir(parents=True, exist_ok=True)
    return store


def _text(path: Place) -> str:
    if isinstance(path, Path):
        return path.read_text(encoding="utf-8")
    if (stored := objects.read(path)) is None:
        raise StorageError(f"{path}: cannot be read: no such object; check the name")
    return stored.content.decode()
