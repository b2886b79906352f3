"""Too little of something: one message, nothing torn, and once there is enough the usual results."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from kills import restarted
from outcome import Outcome, Tally
from program import Done, Program
from scenarios import SCENARIOS, Scenario
from workspace import Workspace

GROUP = Path("/sys/fs/cgroup/memory/ctrloom-faults")
MIB = 1 << 20
SECONDS = 30.0
STARVED = (
    "ingest",
    "vocabulary",
    "autofis",
    "tune",
    "retrain",
    "evaluate",
    "predict",
    "promote",
    "grow",
    "gate",
)


def resources(workspace: Workspace, rng: random.Random) -> Iterator[Tally]:
    """All kinds of shortage, for some stages and whole runs."""
    stages = [each for each in SCENARIOS if each.name in STARVED]
    whole = [each for each in SCENARIOS if each.name == "run"]
    limits = {
        "largest file": ("FSIZE", (1, 4, 16, 64)),
        "address space": ("AS", (1, 16, 64, 160, 400)),
        "file handles": ("NOFILE", (8, 16, 24, 40)),
        "clock jumps": ("CLOCK", (-86_400 * 365, 86_400 * 365)),
    }
    for what, (name, values) in limits.items():
        tally = Tally("resources", what)
        for scenario in stages:
            for value in values:
                _try(
                    workspace,
                    scenario,
                    tally,
                    f"{name}={value}",
                    partial(_limited, workspace, f"{name}={value}"),
                )
        yield tally
    yield _disk(workspace, [*stages, *whole])
    yield _read_only(workspace, [*stages, *whole])
    yield _modified(workspace, stages)
    yield _control_group(workspace, [each for each in stages if each.name in ("ingest", "retrain")])


Run = Callable[[list[str]], Done]


def _try(
    workspace: Workspace, scenario: Scenario, tally: Tally, told: str, starved: Run, out: Path | None = None
) -> None:
    """Run a scenario starved, then as usual."""
    out = out or workspace.folder / "starved"
    shutil.rmtree(out / "x", ignore_errors=True)
    command = workspace.command(scenario, out / "x")
    told = f"{' '.join(command)} with {told}"
    tally.add(*_outcome(workspace, scenario, out / "x", told, starved(command), command))
    shutil.rmtree(out / "x", ignore_errors=True)


def _outcome(
    workspace: Workspace, scenario: Scenario, out: Path, told: str, done: Done, command: list[str]
) -> tuple[Outcome, str]:
    if done.failure:
        return done.failure, f"{told}: {done.message}"
    if done.status == 0:
        return restarted(workspace, scenario, done, out, told)
    if not done.err.strip():
        return Outcome.LOST, f"{told}: no message"
    after = restarted(workspace, scenario, workspace.program.run(command, workspace.folder), out, told)
    return (Outcome.DETECTED, told) if after[0] == Outcome.HARMLESS else after


def _limited(workspace: Workspace, limit: str, command: list[str]) -> Done:
    return workspace.program.run(command, workspace.folder, [limit], SECONDS)


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[str]:
    """A small file system in memory; yields why there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        yield "" if made.returncode == 0 else f"no file system can be mounted: {made.stderr.strip()}"
    finally:
        if made.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def _remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True, capture_output=True)


def _disk(workspace: Workspace, scenarios: list[Scenario]) -> Tally:
    tally = Tally("resources", "full disk")
    disk = workspace.folder / "disk"
    for scenario in scenarios:
        for size in ("16k", "48k", "112k", "256k") if not scenario.whole else ("200k", "500k", "900k"):
            with _mounted(disk, "size=64m") as tally.not_run:
                if tally.not_run:
                    return tally

                def starved(command: list[str], size: str = size) -> Done:
                    _remount(disk, f"size={size}")
                    done = workspace.program.run(command, workspace.folder)
                    _remount(disk, "size=64m")
                    return done

                _try(workspace, scenario, tally, f"a disk of {size}", starved, disk)
    return tally


def _read_only(workspace: Workspace, scenarios: list[Scenario]) -> Tally:
    tally = Tally("resources", "read-only folder")
    disk = workspace.folder / "disk"
    for scenario in scenarios:
        with _mounted(disk, "size=64m") as tally.not_run:
            if tally.not_run:
                return tally

            def starved(command: list[str]) -> Done:
                _remount(disk, "ro")
                done = workspace.program.run(command, workspace.folder)
                _remount(disk, "rw")
                return done

            _try(workspace, scenario, tally, "a read-only folder", starved, disk)
    return tally


def _modified(workspace: Workspace, scenarios: list[Scenario]) -> Tally:
    """Input files from the future and from 1970."""
    tally = Tally("resources", "times of input files")
    clicks = workspace.folder / "clicks.csv"
    before = clicks.stat().st_mtime
    for scenario in scenarios:
        for when in (0.0, time.time() + 86_400 * 365):

            def starved(command: list[str], when: float = when) -> Done:
                os.utime(clicks, (when, when))
                return workspace.program.run(command, workspace.folder)

            _try(workspace, scenario, tally, f"clicks.csv of {when:.0f}", starved)
    os.utime(clicks, (before, before))
    return tally


def _control_group(workspace: Workspace, scenarios: list[Scenario]) -> Tally:
    """Memory of a control group, in which the kernel kills what needs more."""
    tally = Tally("resources", "memory of a control group")
    try:
        GROUP.mkdir(exist_ok=True)
    except OSError as error:
        tally.not_run = f"no control group of memory: {error.strerror}"
        return tally
    real = Program(sys.executable)
    for scenario in scenarios:
        for size in (150, 350, 1_000):

            def starved(command: list[str], size: int = size) -> Done:
                (GROUP / "memory.limit_in_bytes").write_text(str(size * MIB))
                return real.run(command, workspace.folder, [f"GROUP={GROUP}"])

            _try_killed(workspace, scenario, tally, f"{size} MiB of memory", starved)
    GROUP.rmdir()
    return tally


def _try_killed(workspace: Workspace, scenario: Scenario, tally: Tally, told: str, starved: Run) -> None:
    """As `_try`, but the kernel may kill the command."""
    out = workspace.folder / "starved" / "x"
    shutil.rmtree(out, ignore_errors=True)
    command = workspace.command(scenario, out)
    done = starved(command)
    if done.status == -9:  # killed by the kernel: what counts is the next start
        done = Done(1, done.out, "killed", done.seconds)
    tally.add(*_outcome(workspace, scenario, out, f"{' '.join(command)} with {told}", done, command))
    shutil.rmtree(out, ignore_errors=True)
