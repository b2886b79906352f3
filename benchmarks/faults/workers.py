"""Calls in a child process that are cheap to repeat, and whose crash or hang is an outcome like any other."""

import io
import os
import pickle
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from program import Done

SECONDS = 60.0
CALLS = 100  # of one child: what it leaks stays small


def command(arguments: Sequence[str], folder: Path) -> Done:
    """`ctrloom <arguments>` in this process, which is that of a worker."""
    from ctrloom.cli import main

    out, err, status = io.StringIO(), io.StringIO(), 0
    os.chdir(folder)
    sys.argv = ["ctrloom", *arguments]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        err.write(traceback.format_exc())
        status = 1
    return Done(status, out.getvalue(), err.getvalue(), 0.0)


def in_workers(calls: Sequence[Callable[[], Any]]) -> Iterator[Any]:
    """The results of all calls in order; None of one that hangs, and -N of one that dies by signal N.

    Raises:
        RuntimeError: a call raised an error, which it should return.
    """
    at = 0
    while at < len(calls):
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            os.close(reading)
            _serve(calls[at : at + CALLS], writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as results:
            for _ in calls[at : at + CALLS]:
                if not select.select([results], [], [], SECONDS)[0]:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    yield None
                    at += 1
                    break
                if not (head := results.read(4)):
                    yield -os.WTERMSIG(os.waitpid(child, 0)[1])
                    at += 1
                    break
                result, error = pickle.loads(results.read(int.from_bytes(head)))
                if error:
                    raise RuntimeError(error)
                yield result
                at += 1
            else:
                os.waitpid(child, 0)


def _serve(calls: Sequence[Callable[[], Any]], writing: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    with os.fdopen(writing, "wb") as results:
        for call in calls:
            try:
                content = pickle.dumps((call(), None))
            except BaseException:
                content = pickle.dumps((None, traceback.format_exc()))
            results.write(len(content).to_bytes(4) + content)
            results.flush()
    os._exit(0)
