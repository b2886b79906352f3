"""Stopping on SIGTERM, SIGINT and SIGHUP: at once, or after the checkpoint of a loop that asks for it.

A process belongs to its caller: only commands and components call `install`. Without it, signals have
Python's default effect, and no stop is ever requested.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from typing import NoReturn

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
GRACE = 15.0  # seconds after the signal; then the process ends, even in native code that never returns
# File descriptor of a pipe that the process that started this one keeps open as long as it lives
PARENT = "CTRLOOM_PARENT_PIPE"


class Stopped(SystemExit):
    """A signal stops this process; as for any SystemExit, no `except Exception` swallows it.

    Uncaught, it ends the process without a traceback and with status 128 + signal.
    """

    def __init__(self, number: int) -> None:
        """Of the signal with this number."""
        super().__init__(number)
        self.code, self.signal = 128 + number, signal.Signals(number)

    def __str__(self) -> str:
        return f"stopped by {self.signal.name}"


class Stop:
    """Whether this process is asked to stop."""

    def __init__(self) -> None:
        """Not yet."""
        self.by: int | None = None  # the first signal
        self.blocks = 0  # of `deferred`, that are running
        self.advice = ""

    @property
    def requested(self) -> bool:
        """Whether a signal was received."""
        return self.by is not None

    def now(self) -> NoReturn:
        """Stop, for example after a checkpoint was saved.

        Raises:
            Stopped: always.
        """
        raise Stopped(self.by or signal.SIGTERM)


_stop = Stop()


@contextmanager
def deferred() -> Iterator[Stop]:
    """Within this block, a signal does not raise `Stopped` but sets `requested`; leaving the block raises it.

    The block checks `requested` every few seconds, saves its work and calls `now`: it has `GRACE` seconds.
    A second SIGINT ends the process at once.
    """
    if _stop.requested and not _stop.blocks:
        _stop.now()
    _stop.blocks += 1
    try:
        yield _stop
    finally:
        _stop.blocks -= 1
    if _stop.requested and not _stop.blocks:
        _stop.now()


def requested() -> bool:
    """Whether a signal was received: then any error may be its consequence, such as a cancelled query."""
    return _stop.requested


def install(advice: str = "run the same command again") -> None:
    """Let signals stop this process, and let it end when its parent dies; call it once, in the main thread.

    Signals that the caller ignores, as `nohup` does, stay ignored. The parent is the process that started
    this one as a worker of multiprocessing, or that set `PARENT`. The advice is for `message`.
    """
    _stop.advice = advice
    received, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    for each in SIGNALS:
        if signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, _handle)
    threading.Thread(target=_watch, args=(received, _parent()), name="ctrloom-signals", daemon=True).start()


def message(number: int) -> str:
    """The line for the user: which signal it was, and what to do next."""
    return "; ".join(filter(None, [f"stopped by {signal.Signals(number).name}", _stop.advice]))


def _parent() -> list[int]:
    """The pipe that the parent process keeps open."""
    started_by = parent_process()
    if started_by is not None:
        return [started_by.sentinel]
    pipe = os.environ.pop(PARENT, None)  # not for this process's children
    return [int(pipe)] if pipe else []


def _handle(number: int, _: object) -> None:
    """Raise in the main thread; later signals do not interrupt what cleans up."""
    if not _stop.requested:
        _stop.by = number
        if not _stop.blocks:
            _stop.now()


def _watch(received: int, parent: list[int]) -> None:
    """End this process when time is up, on a second SIGINT, or when its parent has died.

    Python's handlers wait for native code to return, so that this thread reads signals as they arrive.
    """
    first, deadline = 0, None
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([received, *parent], [], [], left)
        if not ready:
            _end(first)
        if any(not os.read(pipe, 1) for pipe in parent if pipe in ready):
            os._exit(128 + signal.SIGKILL)  # nobody waits, and the next attempt may be running
        for number in os.read(received, 64) if received in ready else ():
            if first and number == signal.SIGINT:
                _end(number)
            if not first and number in SIGNALS:
                first, deadline = number, time.monotonic() + GRACE


def _end(number: int) -> NoReturn:
    """End at once. Whatever is being written is incomplete, and not used by the next attempt."""
    show_cursor = "\x1b[?25h\n" if sys.platform != "win32" and os.isatty(2) else ""
    os.write(2, f"{show_cursor}ctrloom: {message(number)}\n".encode())
    os._exit(128 + number)
