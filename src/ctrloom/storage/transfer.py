"""Copying files and folders between this machine and a store."""

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from ctrloom.storage.clients import client
from ctrloom.storage.errors import StorageError
from ctrloom.storage.local import atomic_directory, atomic_file
from ctrloom.storage.location import Location, Place, relative, stays_inside
from ctrloom.storage.lock import turn
from ctrloom.storage.remote import Listed


def upload(folder: Path, to: Place) -> None:
    """Copy all files of a local folder to a place.

    Raises:
        StorageError: it cannot be written.
    """
    if isinstance(to, Path):
        _copied(folder, to, to)
    else:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        client(to).upload([(path, to / path.relative_to(folder).as_posix()) for path in files])


def download(folder: Place, to: Path) -> None:
    """Copy all files of a place to a local folder.

    Raises:
        StorageError: it cannot be read, or is empty.
    """
    if isinstance(folder, Path):
        if not folder.is_dir():
            raise StorageError(f"{folder}: no such folder")
        _copied(folder, to, folder)
    else:
        _fetch(folder, _listed(folder), to)


def cached(folder: Place, cache: Path) -> Path:
    """A local folder with the files of a place: the place itself, or a copy in `cache`, renewed on change.

    Raises:
        StorageError: it cannot be read, or is empty.
    """
    if isinstance(folder, Path):
        return folder
    found = _listed(folder)
    key = "\n".join(sorted(f"{each.at} {each.generation}" for each in found))
    copy = cache / f"{folder.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not copy.is_dir():
        with turn(copy):
            if not copy.is_dir():
                with atomic_directory(copy) as temporary:
                    _fetch(folder, found, temporary)
    return copy


def put(file: Path, to: Place) -> None:
    """Copy a local file to a place.

    Raises:
        StorageError: it cannot be written.
    """
    if isinstance(to, Location):
        client(to).upload([(file, to)])
        return
    with atomic_file(to) as temporary:
        shutil.copyfile(file, temporary)


def get(found: Listed, to: Path) -> None:
    """Copy an object to a local file and verify its checksum.

    Raises:
        StorageError: it cannot be read.
    """
    client(found.at).download([(found, to)])


def sizes(base: Place, files: Iterable[str]) -> dict[str, int]:
    """Bytes of those of these files that are in a place.

    Raises:
        StorageError: the store cannot be queried.
    """
    if isinstance(base, Location):
        found = {relative(each.at, base): each.bytes for each in client(base).listed(base)}
        return {file: found[file] for file in files if file in found}
    return {file: (base / file).stat().st_size for file in files if (base / file).is_file()}


def objects_in(folder: Location) -> list[Listed]:
    """All objects under a prefix.

    Raises:
        StorageError: the store cannot be queried.
    """
    return [each for each in client(folder).listed(folder) if each.at.name]


def files(folder: Place) -> list[str]:
    """Names of the files directly in a folder; empty if it does not exist.

    Raises:
        StorageError: the store cannot be queried.
    """
    if isinstance(folder, Location):
        return sorted(each.at.name for each in objects_in(folder) if each.at.parent == folder)
    return sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def remove(place: Place) -> None:
    """Delete a file, or a folder with all its files; what does not exist is deleted already.

    Raises:
        StorageError: it cannot be deleted.
    """
    if isinstance(place, Location):
        client(place).delete([place, *(each.at for each in client(place).listed(place))])
        return
    try:
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    except FileNotFoundError:  # deleted by another process meanwhile
        pass
    except OSError as error:
        raise StorageError(f"{place}: cannot be deleted: {error.strerror}") from None


def last_change(folder: Place) -> float:
    """When a file below a folder was last written, in seconds since 1970; 0 if there is none.

    Raises:
        StorageError: the store cannot be queried.
    """
    if isinstance(folder, Location):
        return max((each.written for each in objects_in(folder)), default=0.0)
    found = [path.stat(follow_symlinks=False).st_mtime for path in folder.rglob("*") if path.is_file()]
    return max(found, default=0.0)


def folders(place: Place) -> list[str]:
    """Names of the folders in a place; empty if the place does not exist."""
    if isinstance(place, Location):
        return client(place).folders(place)
    return sorted(path.name for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def _listed(folder: Location) -> list[Listed]:
    if found := objects_in(folder):
        return found
    raise StorageError(f"{folder}: is empty or does not exist; check the name")


def _fetch(folder: Location, found: list[Listed], to: Path) -> None:
    names = [each.at.relative_to(folder) for each in found]
    if outside := [name for name in names if not stays_inside(name)]:
        raise StorageError(f"{folder}: the object {outside[0]!r} would be written outside of {to}; rename it")
    files = [(each, to / name) for each, name in zip(found, names, strict=True)]
    for _, path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
    client(folder).download(files)


def _copied(folder: Path, to: Path, far: Path) -> None:
    try:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            with atomic_file(to / path.relative_to(folder)) as temporary:
                shutil.copyfile(path, temporary)
    except OSError as error:
        raise StorageError(f"{far}: cannot be copied: {error.strerror}") from None
