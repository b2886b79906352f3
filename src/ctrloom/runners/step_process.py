"""The process of one step: a signal to the command stops it, too, and it does not outlive the command."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from subprocess import Popen

from ctrloom import interruption, memory


def run_step(
    full_command: Sequence[str],
    env_vars: Mapping[str, str] | None = None,
    kill: Callable[[], object] | None = None,
) -> int:
    """Run a step and print what it prints; returns its exit status. `kill` ends it if it does not stop.

    Raises:
        Stopped: the command is stopping; the step has ended.
    """
    with interruption.child_process(full_command, env_vars or {}, kill) as process:
        try:
            _print_output(process)
        except interruption.Stopped:
            _print_output(process)  # the step is asked to stop, too; it must not wait for a reader
            raise
        status = process.wait()
    if died := memory.of_killed(status):
        print(f"LowMemoryError: {died}")  # an error of the step in the log, from which the message is taken
    return status


@contextmanager
def stoppable_steps() -> Iterator[None]:
    """Make KFP's subprocess runner start processes with `run_step`."""
    from kfp.local import subprocess_task_handler

    stock = subprocess_task_handler.run_local_subprocess
    subprocess_task_handler.run_local_subprocess = run_step
    try:
        yield
    finally:
        subprocess_task_handler.run_local_subprocess = stock


def _print_output(process: Popen[str]) -> None:
    assert process.stdout
    for line in process.stdout:
        print(line, end="")
