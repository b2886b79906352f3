"""Processes that tests start at once, and those that a command started, found by a variable (Linux only)."""

import os
import time
import uuid
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path

MARK = "CTRLOOM_TEST_FAMILY"


def fork_server() -> ForkServerContext:
    """A context whose processes fork from one that has imported what they need.

    It starts here, before a test changes the environment, which all later processes would inherit.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["ctrloom.stages", "optuna", "torch._dynamo"])
    forkserver.ensure_running()
    return context


def family() -> dict[str, str]:
    """The environment of a command whose processes `alive` finds."""
    return {**os.environ, MARK: uuid.uuid4().hex}


def alive(environment: dict[str, str]) -> dict[int, str]:
    """Command lines of the processes of a family, by their ids; zombies have ended."""
    found, mark = {}, f"{MARK}={environment[MARK]}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
                )
        except OSError:  # has ended, or is another user's
            continue
    return {number: command for number, command in found.items() if command}


def left_after(environment: dict[str, str], seconds: float = 3) -> dict[int, str]:
    """The processes of a family that still run after this time."""
    deadline = time.monotonic() + seconds
    while (left := alive(environment)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
