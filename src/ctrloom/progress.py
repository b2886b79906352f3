"""Progress reports: a bar with rate and remaining time on a terminal, or else plain lines; and warnings."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from ctrloom.config.environment import process_number

PLAIN_SECONDS = 5.0  # between two plain lines
MARK = "- "  # prefix of every plain line, to distinguish it from other output
WARNING = f"{MARK}warning: "
_open: list[Progress] = []  # at most one


class Advance(Protocol):
    """Report `amount` more units of work done, with an optional short note such as a loss."""

    def __call__(self, amount: int, note: str = "") -> None:  # noqa: D102
        ...


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_rate(task.speed or 0.0, str(task.fields["unit"])))


def follows() -> bool:
    """True if this is not rank 0 of the processes that torchrun started, so that it reports nothing."""
    return process_number("RANK") > 0


def warn(text: str) -> None:
    """Print one line on standard error about something that does not stop the work, but may be a mistake."""
    _print(WARNING + text)


def note(text: str) -> None:
    """Print one line on standard error about what happens."""
    _print(MARK + text)


@contextmanager
def progress(title: str, total: int | None, unit: str = "rows", done: int = 0) -> Iterator[Advance]:
    """Show the progress of `total` units of work (None if unknown) on standard error.

    `done` units were done before, and do not count for the rate.
    """
    if follows():
        yield lambda amount, note="": None
    elif sys.stderr.isatty():
        with _bars() as bars:
            task = bars.add_task(title, total=total, completed=done, unit=unit, note="")
            try:
                yield lambda amount, note="": bars.update(
                    task, advance=amount, **({"note": note} if note else {})
                )
            finally:
                if len(bars.task_ids) > 1:  # inside another one, which stays
                    bars.remove_task(task)
    else:
        yield _Lines(title, total, unit, done)


def _print(line: str) -> None:
    if follows():
        return
    if _open:  # above the bars
        _open[0].console.print(line, markup=False, highlight=False, soft_wrap=True)
    else:
        print(line, file=sys.stderr, flush=True)


@contextmanager
def _bars() -> Iterator[Progress]:
    """The bars on the terminal: those that are open already, if any."""
    if _open:
        yield _open[0]
        return
    from rich.console import Console

    text = TextColumn("{task.description}")
    note = TextColumn("{task.fields[note]}")
    columns = text, BarColumn(), _Rate(), TimeRemainingColumn(), note
    with Progress(*columns, console=Console(stderr=True)) as bars:
        _open.append(bars)
        try:
            yield bars
        finally:
            _open.clear()


class _Lines:
    def __init__(self, title: str, total: int | None, unit: str, done: int) -> None:
        self.title, self.total, self.unit, self.before = title, total, unit, done
        self.done, self.began, self.said = done, time.monotonic(), time.monotonic()

    def __call__(self, amount: int, note: str = "") -> None:
        self.done += amount
        now = time.monotonic()
        if now - self.said < PLAIN_SECONDS and self.done != self.total:
            return
        self.said = now
        rate = (self.done - self.before) / max(now - self.began, 1e-9)
        parts = [f"{self.done:,} {self.unit}", _rate(rate, self.unit)]
        if self.total:
            left = (self.total - self.done) / max(rate, 1e-9)
            parts = [f"{self.done / self.total:4.0%}", *parts[1:], f"{left:.0f} s left"]
        print(
            f"{MARK}{self.title}: {', '.join([*parts, note] if note else parts)}", file=sys.stderr, flush=True
        )


def _rate(rate: float, unit: str) -> str:
    return f"{rate:,.0f} {unit}/s"
