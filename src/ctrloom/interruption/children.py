"""Child processes that stop with this one, and do not outlive it.

Workers of multiprocessing have a pipe to their parent; other processes get one as their standard input.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import active_children, parent_process
from subprocess import PIPE, STDOUT, Popen

from ctrloom.interruption.stop import check

PARENT = "CTRLOOM_PARENT_PIPE"  # the file descriptor of the pipe that a parent keeps open
_kills: dict[Popen[str], Callable[[], object]] = {}  # of each running child


def parent_pipes() -> list[int]:
    """The pipe that the parent process keeps open as long as it lives, if there is one."""
    parent = parent_process()
    if parent is not None:
        return [parent.sentinel]
    pipe = os.environ.pop(PARENT, None)  # not for this process's children
    return [int(pipe)] if pipe else []


@contextmanager
def starting() -> Iterator[None]:
    """Start processes that call `install` first: until then, a SIGINT of the terminal does not reach them.

    Without `install` in this process it changes nothing, as then no thread would be left to receive it.
    """
    ours = callable(signal.getsignal(signal.SIGTERM))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT] if ours else [])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def child_process(
    command: Sequence[str], environment: Mapping[str, str], kill: Callable[[], object] | None = None
) -> Iterator[Popen[str]]:
    """Start a process that stops with this one, if it calls `install`; leaving the block waits for it.

    Its standard input is the pipe that shows whether this process lives, and its output is one stream of
    lines. `kill` ends it if it does not stop: a client of a container engine, for example. As that would
    pass on signals of the terminal that this process ignores, such as SIGHUP under `nohup`, it gets none.

    Raises:
        Stopped: this process is stopping.
    """
    check()
    whole = {**os.environ, PARENT: "0", **environment}
    with starting():
        process = Popen(
            command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            text=True,
            bufsize=1,
            env=whole,
            process_group=None if kill is None else 0,
        )
    _kills[process] = kill or process.kill
    try:
        with process:
            yield process
    finally:
        del _kills[process]


def ask_children() -> bool:
    """Ask all children to stop; whether there are any. Ask again, as they may just be starting."""
    workers, others = active_children(), list(_kills)
    for worker in workers:
        worker.terminate()
    for other in others:
        other.terminate()
    return bool(workers or others)


def kill_children() -> None:
    """Kill all children; their own children notice it."""
    for worker in active_children():
        worker.kill()
    for kill in list(_kills.values()):
        with suppress(OSError):
            kill()
