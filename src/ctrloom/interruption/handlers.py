"""Signal handlers, and the thread that ends the process if it does not stop in time."""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from typing import NoReturn

from ctrloom.interruption.children import ask_children, kill_children, parent_pipes
from ctrloom.interruption.stop import Stopped, state

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]
GRACE = 15.0  # seconds after the signal; then the process ends, even in native code that never returns
FOR_CHILDREN = 3.0  # more, for a process that waits for others


class _Report:
    """What the user is told when this process is stopped."""

    installed, silent, told, advice = False, False, False, ""

    def line(self, number: int) -> str:
        """The line to write; empty after the first time: the thread that ends the process may be next."""
        if self.silent or self.told:
            return ""
        self.told = True
        return (
            "; ".join(filter(None, [f"ctrloom: stopped by {signal.Signals(number).name}", self.advice]))
            + "\n"
        )


_report = _Report()


@contextmanager
def stoppable(advice: str = "run the same command again", silent: bool = False) -> Iterator[None]:
    """`install`, and one line for the user when a signal ends the block.

    Raises:
        Stopped: in place of any error, too: native code that is interrupted raises errors of its own.
    """
    install()
    advise(advice)
    _report.silent = _report.silent or silent
    try:
        yield
    except (Stopped, Exception) as error:
        number = error.signal if isinstance(error, Stopped) else state.signal
        if not number:
            raise
        with suppress(OSError):  # the terminal may be closed
            sys.stderr.write(_report.line(number))
            sys.stderr.flush()
        raise Stopped(number) from None


def advise(advice: str) -> None:
    """What the user can do after this process was stopped; see `stoppable`."""
    _report.advice = advice


def install() -> None:
    """Let signals stop this process, and let it end when its parent dies; call it in the main thread.

    Signals that the caller ignores, as `nohup` does, stay ignored. The parent is the process that started
    this one as a worker of multiprocessing, or with `child_process`.
    """
    if _report.installed:
        return
    _report.installed, _report.silent = True, parent_process() is not None  # the parent reports
    received, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    for each in SIGNALS:
        if signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, lambda number, _: state.receive(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    warnings = os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"  # if killed
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, warnings))
    watch = threading.Thread(target=_watch, args=(received, parent_pipes()), daemon=True)
    watch.start()


def _watch(received: int, parent: list[int]) -> None:
    """End this process when time is up, on a second SIGINT, or when its parent has died.

    Python's handlers wait for native code to return, so that this thread reads signals as they arrive.
    """
    first, began, interrupts = 0, 0.0, 0
    while True:
        ready, _, _ = select.select([received, *parent], [], [], 0.5 if first else None)
        if any(not os.read(pipe, 1) for pipe in parent if pipe in ready):
            kill_children()
            os._exit(128 + signal.SIGKILL)  # the next attempt may be running already
        for number in os.read(received, 64) if received in ready else ():
            interrupts += number == signal.SIGINT
            if interrupts > 1:
                _end(number)
            if not first and number in SIGNALS:
                first, began = number, time.monotonic()
        if first:
            waits = ask_children()
            if time.monotonic() - began > GRACE + FOR_CHILDREN * waits:
                _end(first)


def _end(number: int) -> NoReturn:
    """End at once. Whatever is being written is incomplete, and not used by the next attempt."""
    kill_children()
    show_cursor = "\x1b[?25h\n" if os.isatty(2) else ""
    with suppress(OSError):
        os.write(2, f"{show_cursor}{_report.line(number)}".encode())
    os._exit(128 + number)
