"""Local files and folders with atomic writes."""

import errno
import fcntl
import glob
import hashlib
import os
import platform
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path

from ctrloom.storage.errors import StorageError
from ctrloom.storage.outputs import is_stream


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; it is renamed to `path` on success, deleted on failure.

    A symbolic link is followed. A device, a FIFO or an open file such as /dev/stdout is yielded itself.

    Raises:
        StorageError: it cannot be written.
    """
    if is_stream(path):
        with _explained(Path(path), ""):
            yield Path(path)
        return
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    temporary = path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{threading.get_native_id()}.tmp")
    with _explained(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_files(path.parent)
        try:
            temporary.touch()
            mode = temporary.stat().st_mode  # by the umask; some libraries write files only for their owner
            temporary.unlink()
            yield temporary
            temporary.chmod(mode)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@cache
def _machine() -> str:
    """A name of what numbers this process: a machine since its start, or a container on it."""
    known = [platform.node()]
    with suppress(OSError):  # Linux
        known += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256(repr(known).encode()).hexdigest()[:8]


@lru_cache(maxsize=256)  # a folder may have many files
def _remove_left_files(folder: Path) -> None:
    """Delete the temporary files of `atomic_file` that killed processes of this machine left in a folder."""
    for left in folder.glob(f".*.{_machine()}-*-*.tmp"):
        process = left.name.split("-")[-2]
        with suppress(OSError):
            if process.isdecimal() and not _is_alive(int(process)):
                left.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OverflowError, PermissionError):
        pass
    return True


@contextmanager
def atomic_directory(path: str | Path, *own: str) -> Iterator[Path]:
    """Yield a temporary directory next to `path`; it replaces `path` on success, is deleted on failure.

    An existing directory is replaced only if each entry of it is the first part of a match of one of the
    patterns `own`, such as `model.json` or `*/model.json`: others are not of the same kind.

    Raises:
        StorageError: it cannot be written, or has other entries.
    """
    path = Path(path)
    with _explained(path):
        require_own(path, *own)
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_directory(path.name, path.parent) as temporary:
            yield temporary
            _replace_directory(temporary, path)


def require_own(path: str | Path, *own: str) -> None:
    """Raise StorageError if a directory has entries that `atomic_directory` would not replace.

    For work whose result is written at the end.
    """
    path = Path(path)
    if not path.is_dir():
        return
    names = {found.relative_to(path).parts[0] for pattern in own for found in path.glob(pattern)}
    if others := sorted({entry.name for entry in path.iterdir()} - names):
        raise StorageError(
            f"{path}: exists and has {others[0]!r}, which is not part of what is written here and would be "
            "deleted; choose another folder, or empty this one"
        )


@contextmanager
def scratch_directory(name: str, folder: Path) -> Iterator[Path]:
    """A temporary directory `.<name>.*` in `folder`, deleted at the end.

    Directories left by killed processes of this machine are deleted first: their lock is free.
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
        path = folder / f"{prefix}{secrets.token_hex(4)}.tmp"
        path.mkdir()
        with suppress(FileNotFoundError):  # deleted by another process before it was locked: retry
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            except OSError:
                pass  # a file system without locks; leftovers are never removed there
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
    """Rename `new` to `path`; an existing directory is deleted last, so a failure cannot lose it."""
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
def _explained(path: Path, left: str = "; no partial file was left") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename is not None and not _concerns(
            Path(str(error.filename)).absolute(), path.absolute()
        ):
            raise
        reason = error.strerror or error
        raise StorageError(f"{path}: cannot be written: {reason}{left}") from error


def _concerns(place: Path, path: Path) -> bool:
    """True if `place` is `path`, one of its parents, or in its temporary file or directory."""
    return path.is_relative_to(place) or str(place).startswith(str(path.with_name(f".{path.name}.")))
