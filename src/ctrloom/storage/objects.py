"""Small objects with several writers: read with their generation, replaced only if unchanged."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctrloom.storage.clients import client
from ctrloom.storage.errors import ConflictError, StorageError
from ctrloom.storage.local import atomic_file
from ctrloom.storage.location import Location, Place
from ctrloom.storage.remote import Stored

__all__ = ["Stored", "read", "replace"]


def read(place: Place) -> Stored | None:
    """The object, or None if it does not exist.

    Raises:
        StorageError: it cannot be read.
    """
    if isinstance(place, Location):
        return client(place).read(place)
    try:
        content = place.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{place}: cannot be read: {error.strerror}") from None
    return Stored(content, hashlib.sha256(content).hexdigest())


def replace(place: Place, content: bytes, expected: str | None) -> str:
    """Write an object only if it still has the generation `expected` (None: only if it does not exist).

    Returns the new generation. Readers see either the old or the new content.

    Raises:
        ConflictError: it has changed, or already exists.
        StorageError: it cannot be written.
    """
    if isinstance(place, Location):
        return client(place).replace(place, content, expected)
    with _locked(place):
        now = read(place)
        if (now and now.generation) != expected:
            raise ConflictError(f"{place}: was changed by another process")
        with atomic_file(place) as temporary:
            temporary.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclusive lock among processes; released if its process dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
