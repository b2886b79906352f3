"""Local files and folders, written whole or not at all."""

import errno
import fcntl
import glob
import hashlib
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ctrloom.storage.errors import StorageError


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it becomes `path`, on failure it disappears."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.tmp")
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Give a temporary directory beside `path`; on success it replaces `path`, on failure it disappears."""
    path = Path(path)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_directory(path.name, path.parent) as aside:
            yield aside
            aside.chmod(0o755)
            _replace_directory(aside, path)


@contextmanager
def scratch_directory(name: str, folder: Path) -> Iterator[Path]:
    """A temporary directory `.<name>.*` in `folder`, which disappears at the end.

    Those that killed processes of this machine left there disappear first: nobody holds their lock.
    """
    prefix = f".{name}.{platform.node()}-"
    for left in folder.glob(f"{glob.escape(prefix)}*.tmp"):
        _remove_unless_held(left)
    path, lock = _held(prefix, folder)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _held(prefix: str, folder: Path) -> tuple[Path, int]:
    """A new directory and its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, suffix=".tmp", dir=folder))
        with suppress(FileNotFoundError):  # another process took it for one that was left, and so again below
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            except OSError:
                pass  # a file system without locks, on which nobody removes what is left
            if path.exists():
                return path, lock
            os.close(lock)


def _remove_unless_held(left: Path) -> None:
    with suppress(OSError):
        lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(lock)


def _replace_directory(new: Path, path: Path) -> None:
    """Rename `new` to `path`; a directory that was there is deleted last, so a failure cannot lose it."""
    if path.exists() and not path.is_dir():
        raise FileExistsError(errno.EEXIST, "a file of this name exists", str(path))
    old = new.with_suffix(".old")
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a local file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename is not None and not _concerns(
            Path(str(error.filename)).absolute(), path.absolute()
        ):
            raise
        reason = error.strerror or error
        raise StorageError(f"{path}: cannot be written: {reason}; nothing was left half-written") from error


def _concerns(place: Path, path: Path) -> bool:
    """Whether `place` is `path`, a folder around it, or in what is written aside for it."""
    return path.is_relative_to(place) or str(place).startswith(str(path.with_name(f".{path.name}.")))
