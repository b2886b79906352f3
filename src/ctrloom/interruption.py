"""Stopping on SIGTERM, SIGINT and SIGHUP: at once, or after the checkpoint of a loop that asks for it.

A process belongs to its caller: only commands, components and worker processes call `install`. Without it,
signals have Python's default effect, and no stop is ever requested.

A process passes the signal to its children and waits for them. Each child also watches a pipe that its parent
keeps open, and ends when the parent has died: so no signal, not even SIGKILL, leaves a process behind.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import active_children, parent_process
from subprocess import PIPE, STDOUT, Popen
from typing import NoReturn

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
GRACE = 15.0  # seconds after the signal; then the process ends, even in native code that never returns
FOR_CHILDREN = 3.0  # more, for a process that waits for others
PARENT = "CTRLOOM_PARENT_PIPE"  # the file descriptor of the pipe that a parent keeps open


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
        self.signal = 0  # the first one
        self.blocks = 0  # of `deferred`, that are running
        self.advice, self.silent = "", False

    @property
    def requested(self) -> bool:
        """Whether a signal was received."""
        return self.signal != 0

    def now(self) -> NoReturn:
        """Stop, for example after a checkpoint was saved.

        Raises:
            Stopped: always.
        """
        raise Stopped(self.signal or signal.SIGTERM)


_stop = Stop()
_children: dict[Popen[str], Callable[[], object]] = {}  # and what kills each


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


@contextmanager
def stoppable(advice: str, silent: bool = False) -> Iterator[None]:
    """`install`, and one line for the user when a signal ends the block.

    Raises:
        Stopped: in place of any error, too: native code that is interrupted raises errors of its own.
    """
    install()
    advise(advice)
    _stop.silent = silent
    try:
        yield
    except (Stopped, Exception) as error:
        number = error.signal if isinstance(error, Stopped) else _stop.signal
        if not number:
            raise
        sys.stderr.write(_line(number))
        sys.stderr.flush()
        raise Stopped(number) from None


def advise(advice: str) -> None:
    """What the user can do after this process was stopped; see `stoppable`."""
    _stop.advice = advice


def install() -> None:
    """Let signals stop this process, and let it end when its parent dies; call it once, in the main thread.

    Signals that the caller ignores, as `nohup` does, stay ignored. The parent is the process that started
    this one as a worker of multiprocessing, or with `child_process`.
    """
    received, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    for each in SIGNALS:
        if signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, _handle)
    threading.Thread(target=_watch, args=(received, _parent()), name="ctrloom-signals", daemon=True).start()


@contextmanager
def child_process(
    command: Sequence[str], environment: Mapping[str, str], kill: Callable[[], object] | None = None
) -> Iterator[Popen[str]]:
    """Start a process that stops with this one, if it calls `install`; leaving the block waits for it.

    Its standard input is the pipe that shows whether this process lives, and its output is one stream of
    lines. `kill` ends it if it does not stop.

    Raises:
        Stopped: this process is stopping.
    """
    if _stop.requested:
        _stop.now()
    whole = {**os.environ, PARENT: "0", **environment}
    process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=STDOUT, text=True, bufsize=1, env=whole)
    _children[process] = kill or process.kill
    try:
        with process:
            yield process
    finally:
        del _children[process]


def _line(number: int) -> str:
    said = filter(None, [f"ctrloom: stopped by {signal.Signals(number).name}", _stop.advice])
    return "" if _stop.silent else "; ".join(said) + "\n"


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
        _stop.signal = number
        if not _stop.blocks:
            _stop.now()


def _watch(received: int, parent: list[int]) -> None:
    """End this process when time is up, on a second SIGINT, or when its parent has died.

    Python's handlers wait for native code to return, so that this thread reads signals as they arrive.
    """
    first, began = 0, 0.0
    while True:
        ready, _, _ = select.select([received, *parent], [], [], 0.5 if first else None)
        if any(not os.read(pipe, 1) for pipe in parent if pipe in ready):
            _kill_children()
            os._exit(128 + signal.SIGKILL)  # the next attempt may be running already
        for number in os.read(received, 64) if received in ready else ():
            if first and number == signal.SIGINT:
                _end(number)
            if not first and number in SIGNALS:
                first, began = number, time.monotonic()
        if first:
            waits = _ask_children()
            if time.monotonic() - began > GRACE + FOR_CHILDREN * waits:
                _end(first)


def _ask_children() -> bool:
    """Ask all children to stop, again and again, as they may just be starting; whether there are any."""
    workers, children = active_children(), list(_children)
    for worker in workers:
        worker.terminate()
    for child in children:
        child.terminate()
    return bool(workers or children)


def _kill_children() -> None:
    for worker in active_children():
        worker.kill()
    for kill in list(_children.values()):
        with suppress(OSError):
            kill()


def _end(number: int) -> NoReturn:
    """End at once. Whatever is being written is incomplete, and not used by the next attempt."""
    _kill_children()
    show_cursor = "\x1b[?25h\n" if os.isatty(2) else ""
    os.write(2, f"{show_cursor}{_line(number)}".encode())
    os._exit(128 + number)
