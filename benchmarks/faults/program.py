"""Commands of ctrloom as processes that start at once, with limits and a time limit."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))

from outcome import FAULT_TRACE, Outcome
from warm import warm_python

LIMITED = str(Path(__file__).with_name("limited.py"))
SECONDS = 120.0  # a command of the smallest size takes a few


@dataclass(frozen=True)
class Done:
    """A command that ended; `status` is None if it was stopped at the time limit."""

    status: int | None
    out: str
    err: str
    seconds: float

    @property
    def failure(self) -> Outcome | None:
        """A traceback, a crash or a hang."""
        if self.status is None:
            return Outcome.HANG
        crashed = self.status < 0 or self.status in (70, 128 + signal.SIGSEGV, 128 + signal.SIGABRT)
        return Outcome.TRACEBACK if crashed or FAULT_TRACE.search(self.out + self.err) else None

    @property
    def last_line(self) -> str:
        """The last line of standard output: what a stage wrote."""
        return next(iter(reversed(self.out.strip().splitlines())), "")

    @property
    def message(self) -> str:
        """The last line of standard error, for examples."""
        return next(iter(reversed(self.err.strip().splitlines())), "")[:300]


class Program:
    """Starts `ctrloom <arguments>`; `python` is the program of `warm_python`, or a real Python."""

    def __init__(self, python: str) -> None:
        self.python = python

    def start(
        self, arguments: Sequence[str], folder: Path, limits: Sequence[str] = (), output: int | None = None
    ) -> subprocess.Popen[str]:
        """Start a command in its own process group; `limits` are those of `limited.py`."""
        ctrloom = [LIMITED, *limits, "--"] if limits else ["-m", "ctrloom"]
        return subprocess.Popen(
            [self.python, *ctrloom, *arguments],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if output is None else output,
            stderr=subprocess.PIPE if output is None else output,
            text=True,
            errors="replace",
            process_group=0,
        )

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        limits: Sequence[str] = (),
        seconds: float = SECONDS,
    ) -> Done:
        """Run a command to its end, or to the time limit."""
        began = time.perf_counter()
        with self.start(arguments, folder, limits) as running:
            try:
                out, err = running.communicate(timeout=seconds)
                status: int | None = running.returncode
            except subprocess.TimeoutExpired:
                kill_group(running.pid)
                (out, err), status = running.communicate(), None
        return Done(status, out, err, time.perf_counter() - began)


@contextmanager
def program(folder: Path) -> Iterator[Program]:
    """A `Program` whose processes are forks of one that has imported ctrloom."""
    folder.mkdir(parents=True, exist_ok=True)
    with warm_python(folder) as python:
        yield Program(python)


def environment() -> Mapping[str, str]:
    """The environment of the commands: one thread, on the CPU."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "CTRLOOM_DEVICE": "cpu", "COLUMNS": "200"}


def kill_group(group: int) -> None:
    """Kill what is left of a process group."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def members(group: int) -> list[str]:
    """Commands of the processes of a group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state not in "ZX":
                found.append(
                    stat.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
    return found
