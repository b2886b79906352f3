"""Whether this process is asked to stop, and what that raises."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


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

    @property
    def requested(self) -> bool:
        """Whether a signal was received."""
        return self.signal != 0

    def receive(self, number: int) -> None:
        """Take a signal; only the first raises, so that no other interrupts what then cleans up.

        Raises:
            Stopped: no block defers it.
        """
        if not self.requested:
            self.signal = number
            if not self.blocks:
                self.now()

    def now(self) -> NoReturn:
        """Stop, for example after a checkpoint was saved.

        Raises:
            Stopped: always.
        """
        raise Stopped(self.signal or signal.SIGTERM)


state = Stop()


@contextmanager
def deferred() -> Iterator[Stop]:
    """Within this block, a signal does not raise `Stopped` but sets `requested`; leaving the block raises it.

    The block checks `requested` every few seconds, saves its work and calls `now`: it has `handlers.GRACE`
    seconds. A second SIGINT ends the process at once.
    """
    if not state.blocks:
        check()
    state.blocks += 1
    try:
        yield state
    finally:
        state.blocks -= 1
    if not state.blocks:
        check()


def check() -> None:
    """Raise `Stopped` if a signal was received; call it before work begins that need not begin."""
    if state.requested:
        state.now()
