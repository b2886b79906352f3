"""Whole folders between this machine and a place."""

import shutil
from pathlib import Path

from ctrloom.storage.errors import StorageError
from ctrloom.storage.local import atomic_file
from ctrloom.storage.location import Place


def upload(folder: Path, to: Place) -> None:
    """Copy all files of a local folder to a place.

    Raises:
        StorageError: it cannot be written.
    """
    assert isinstance(to, Path)
    _copied(folder, to, to)


def download(folder: Place, to: Path) -> None:
    """Copy all files of a place to a local folder.

    Raises:
        StorageError: it cannot be read.
    """
    assert isinstance(folder, Path)
    if not folder.is_dir():
        raise StorageError(f"{folder}: no such folder")
    _copied(folder, to, folder)


def folders(place: Place) -> list[str]:
    """Names of the folders in a place; none where there is no such place."""
    assert isinstance(place, Path)
    return sorted(path.name for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def _copied(folder: Path, to: Path, far: Path) -> None:
    try:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            with atomic_file(to / path.relative_to(folder)) as aside:
                shutil.copyfile(path, aside)
    except OSError as error:
        raise StorageError(f"{far}: cannot be copied: {error.strerror}") from None
