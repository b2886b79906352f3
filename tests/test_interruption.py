"""Signals, in real processes: what a process does, its exit status, and that it ends in time."""

import copy
import signal
import subprocess
import sys
from typing import Any

import pytest
from processes import alive, family, left_after

from ctrloom import interruption

LOOP = """
with interruption.deferred() as stop:
    print("ready", flush=True)
    while not stop.requested:
        time.sleep(0.01)
    print("saved", flush=True)
    stop.now()
"""
PLAIN = """
try:
    print("ready", flush=True)
    time.sleep(60)
except Exception:
    print("swallowed")
finally:
    print("cleaned", flush=True)
"""
NATIVE = """
import hashlib
interruption.handlers.GRACE = 0.3
with interruption.deferred():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""
IGNORING = """
with interruption.deferred() as stop:
    print("ready", flush=True)
    while not stop.requested:
        time.sleep(0.01)
    print("still busy", flush=True)
    time.sleep(60)
"""
SLOW_END = """
import atexit
interruption.handlers.GRACE = 0.3
atexit.register(time.sleep, 60)
with interruption.stoppable("again"):
    print("ready", flush=True)
    time.sleep(60)
"""


def started(
    body: str,
    install: str = "interruption.install(); interruption.advise('try again')",
    ready: str = "ready",
    **options: Any,
) -> subprocess.Popen[str]:
    """A process that runs `body`, once it has printed that it is ready."""
    script = f"import time\nfrom ctrloom import interruption\n{install}\n{body}"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    await_line(process, ready)
    return process


def await_line(process: subprocess.Popen[str], expected: str) -> None:
    assert process.stdout
    assert process.stdout.readline() == f"{expected}\n"


def ended(process: subprocess.Popen[str], within: float = 5) -> tuple[int, str, str]:
    """Status and output of a process that must end soon."""
    output, errors = process.communicate(timeout=within)
    return process.returncode, output, errors


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_loop_saves_before_it_stops(number: int) -> None:
    process = started(LOOP)
    process.send_signal(number)
    assert ended(process) == (128 + number, "saved\n", "")


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_signal_cleans_up_and_is_not_swallowed(number: int) -> None:
    process = started(PLAIN)
    process.send_signal(number)
    assert ended(process) == (128 + number, "cleaned\n", "")


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_native_code_cannot_prevent_the_end(number: int) -> None:
    process = started(NATIVE)
    process.send_signal(number)
    name = signal.Signals(number).name
    assert ended(process) == (128 + number, "", f"ctrloom: stopped by {name}; try again\n")


def test_second_interrupt_ends_at_once_and_second_sigterm_does_not() -> None:
    process = started(IGNORING)
    process.send_signal(signal.SIGTERM)
    await_line(process, "still busy")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)
    assert ended(process) == (128 + signal.SIGINT, "", "ctrloom: stopped by SIGINT; try again\n")


def test_ignored_hangup_stays_ignored() -> None:
    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = started(LOOP, preexec_fn=nohup)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.terminate()
    assert ended(process) == (128 + signal.SIGTERM, "saved\n", "")


def test_leaving_a_deferred_block_stops() -> None:
    body = """
with interruption.deferred():
    with interruption.deferred() as stop:
        print("ready", flush=True)
        while not stop.requested:
            time.sleep(0.01)
    with interruption.deferred():
        print("outer goes on", flush=True)
print("never")
"""
    process = started(body)
    process.terminate()
    assert ended(process) == (128 + signal.SIGTERM, "outer goes on\n", "")


def test_without_install_signals_keep_their_default() -> None:
    process = started(LOOP, install="")
    process.terminate()
    assert ended(process) == (-signal.SIGTERM, "", "")


def test_process_ends_with_its_parent() -> None:
    process = started(
        NATIVE,
        "import os; os.environ[interruption.PARENT] = '0'; interruption.install()",
        stdin=subprocess.PIPE,
    )
    assert process.stdin
    process.stdin.close()
    process.stdin = None
    assert ended(process) == (128 + signal.SIGKILL, "", "")


def test_line_is_written_once_by_a_process_whose_end_takes_too_long() -> None:
    process = started(SLOW_END, install="")
    process.terminate()
    assert ended(process) == (128 + signal.SIGTERM, "", "ctrloom: stopped by SIGTERM; again\n")


def test_stopped_can_be_sent_between_processes() -> None:

    stopped = copy.copy(interruption.Stopped(signal.SIGHUP))
    assert (stopped.code, stopped.signal, str(stopped)) == (129, signal.SIGHUP, "stopped by SIGHUP")


# A parent whose child has a child; none of them ends unless it is asked to.
CHILD = """
import sys, time
from ctrloom import interruption
with interruption.stoppable("again"), interruption.deferred() as stop:
    print("started", flush=True)
    while not (stop.requested and {ends}):
        time.sleep(0.01)
    print("child saved", flush=True)
"""
PARENT = """
import sys
from ctrloom.runners.step_process import run_step
interruption.handlers.GRACE = interruption.handlers.FOR_CHILDREN = 0.3
with interruption.stoppable("again"):
    run_step([sys.executable, "-c", {middle!r}])
"""
MIDDLE = """
import sys
from ctrloom import interruption
from ctrloom.runners.step_process import run_step
with interruption.stoppable("again"):
    run_step([sys.executable, "-c", {child!r}])
"""


@pytest.mark.parametrize("number", [*interruption.SIGNALS, signal.SIGKILL])
@pytest.mark.parametrize("ends", [True, False])
def test_no_process_outlives_the_first_one(ends: bool, number: int) -> None:
    environment = family()
    script = PARENT.format(middle=MIDDLE.format(child=CHILD.format(ends=ends)))
    parent = started(script, "interruption.PARENT", "started", env=environment)
    assert len(alive(environment)) == 3
    parent.send_signal(number)
    status, output, errors = ended(parent)
    assert left_after(environment) == {}
    if number == signal.SIGKILL:
        assert (status, output, errors) == (-number, "", "")
        return
    line = f"ctrloom: stopped by {signal.Signals(number).name}; again\n"
    assert (status, errors) == (128 + number, line)
    forwarded = "ctrloom: stopped by SIGTERM; again\n"
    assert output == (f"child saved\n{forwarded}{forwarded}" if ends else "")


def test_nothing_is_started_while_a_process_stops() -> None:
    body = """
from ctrloom.runners.step_process import run_step
with interruption.deferred() as stop:
    print("ready", flush=True)
    while not stop.requested:
        time.sleep(0.01)
    run_step(["echo", "started"])
"""
    process = started(body)
    process.terminate()
    assert ended(process) == (128 + signal.SIGTERM, "", "")
