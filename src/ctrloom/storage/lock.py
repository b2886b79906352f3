"""Locks of files and folders that one process at a time may write; readers need none.

A lock is a file, which exists while it is held and names its owner. The operating system releases it when
the owner dies. File systems that several hosts share may not pass locks on: there, the file shows that
another host may be writing.
"""

import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ctrloom.config.environment import process_number
from ctrloom.storage.errors import StorageError
from ctrloom.storage.location import Location, Place
from ctrloom.storage.outputs import is_stream

ENDING = 0.5  # seconds in which the threads of a killed owner end, and with them its lock
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # the same in all containers of a machine
_mine: dict[Path, int] = {}  # locks that this process holds, and their threads


class LockedError(StorageError):
    """Another process writes the same place; the message names it."""


class Owner(NamedTuple):
    """Who holds or held a lock."""

    pid: int
    host: str
    since: str
    boot: str

    def __str__(self) -> str:
        return f"process {self.pid} on host {self.host}"


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Let no other process write in `folder` during this block, which may be nested.

    Raises:
        LockedError: another process does.
        StorageError: the folder cannot be written.
    """
    with _locked(Path(folder), Path(os.path.realpath(folder)) / ".lock"):
        yield


@contextmanager
def locked_output(path: str | Path) -> Iterator[None]:
    """The same for a file or folder that is replaced as a whole; devices and FIFOs have no lock.

    Raises:
        LockedError: another process writes it.
        StorageError: it cannot be written.
    """
    if is_stream(path):
        yield
        return
    with _locked(Path(path), _next_to(path)):
        yield


@contextmanager
def turn(place: Place, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Wait while another process writes `place`: for content that does not depend on its writer.

    `say` gets a line about what is waited for. In an object store, nothing is waited for.

    Raises:
        StorageError: it cannot be written.
    """
    if isinstance(place, Location):
        yield
        return
    file = _next_to(place)
    if (lock := _take(place, file, wait=False)) is None:
        say(f"{place}: waiting for {_owner(file) or 'another process'}, which is writing it")
        lock = _take(place, file, wait=True)
    assert lock is not None, "it was waited for"
    try:
        _sign(lock)
        yield
    finally:
        _release(lock, file)


@contextmanager
def _locked(target: Path, file: Path) -> Iterator[None]:
    # Of the processes that torchrun started, only rank 0 writes.
    if _mine.get(file) == threading.get_ident() or process_number("RANK") > 0:
        yield
        return
    is_new = not file.parent.exists()
    end = time.monotonic() + ENDING
    while (lock := _take(target, file, wait=False)) is None:
        if time.monotonic() > end:
            raise _in_use(target, _owner(file))
        time.sleep(0.02)
    try:
        _require_free(target, file, lock)
        _sign(lock)
    except BaseException:
        os.close(lock)
        raise
    _mine[file] = threading.get_ident()
    try:
        yield
    finally:
        del _mine[file]
        _release(lock, file)
        if is_new:
            with suppress(OSError):  # unless something was written there
                file.parent.rmdir()


def _next_to(path: str | Path) -> Path:
    whole = Path(os.path.realpath(path))
    return whole.with_name(f".{whole.name}.lock")


def _take(target: Path, file: Path, wait: bool) -> int | None:
    """The descriptor of the lock; None if another process holds it.

    Raises:
        StorageError: the file cannot be created.
    """
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(f"{target}: cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(lock)
            return None
        except OSError:
            return lock  # a file system without locks
        except BaseException:  # a signal, while waiting
            os.close(lock)
            raise
        if _is_at(lock, file):
            return lock
        os.close(lock)  # its owner deleted the file meanwhile


def _is_at(lock: int, file: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock), os.stat(file))
    return False


def _require_free(target: Path, file: Path, lock: int) -> None:
    """Check who left the file behind: a dead process of this machine, unless its locks are not seen here.

    Raises:
        LockedError: it may still run.
    """
    owner = _owner(file)
    if owner is None:
        return
    boot = _boot()
    if owner.host != platform.node() and (owner.boot != boot or not boot):
        raise LockedError(
            f"{target}: {owner} has been writing here since {owner.since}; whether it still runs cannot be "
            f"seen from this host: if it does not, delete {file}"
        )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # a file system without locks
        if owner.boot == boot and _runs(owner.pid):
            raise _in_use(target, owner) from None


def _in_use(target: Path, owner: Owner | None) -> LockedError:
    who = f"{owner} has been writing here since {owner.since}" if owner else "another process is writing here"
    return LockedError(f"{target}: {who}; wait until it ends, stop it, or write to another place")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # of another user
    return pid != os.getpid()


def _boot() -> str:
    return _BOOT.read_text(encoding="utf-8").strip() if _BOOT.exists() else ""


def _owner(file: Path) -> Owner | None:
    with suppress(OSError, ValueError, TypeError):
        return Owner(**json.loads(file.read_text(encoding="utf-8")))
    return None


def _sign(lock: int) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    owner = Owner(os.getpid(), platform.node(), now, _boot())
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(owner._asdict()).encode(), 0)


def _release(lock: int, file: Path) -> None:
    with suppress(OSError):
        if _is_at(lock, file):
            file.unlink()
    os.close(lock)
