"""SIGKILL at random moments; after a restart the results are those of an uninterrupted command."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from digest import digest
from outcome import Outcome, Tally
from program import Done, kill_group, members
from scenarios import SCENARIOS, Scenario
from workspace import Workspace

PATIENCE = 20.0  # seconds in which the processes that a command started end after it
SHARE_OF_WHOLE = 0.4  # of the kills hit whole pipelines, which take ten times as long as a stage


def kills(
    workspace: Workspace, count: int, rng: random.Random, chosen: Sequence[str] = ()
) -> Iterator[Tally]:
    """Kill every scenario, or the chosen ones, `count` times in all or a little more."""
    killed_ones = [each for each in SCENARIOS if not each.again and (not chosen or each.name in chosen)]
    whole = [each for each in killed_ones if each.whole]
    stages = [each for each in killed_ones if not each.whole]
    for scenario in killed_ones:
        of_whole = SHARE_OF_WHOLE if whole and stages else bool(whole)
        share = of_whole / len(whole) if scenario.whole else (1 - of_whole) / len(stages)
        tally = Tally("kill", scenario.name)
        for number in range(max(1, round(count * share + rng.random() - 0.4))):
            out = workspace.folder / "killed" / f"{scenario.name.replace(' ', '-')}-{number}"
            tally.add(*killed(workspace, scenario, out, rng))
            shutil.rmtree(out, ignore_errors=True)
        yield tally


def killed(workspace: Workspace, scenario: Scenario, out: Path, rng: random.Random) -> tuple[Outcome, str]:
    """Kill a scenario, its first process or all of them, and run it again.

    A stage has many checkpoints meanwhile; a pipeline's steps are too short for any.
    """
    after, every = rng.random() * workspace.seconds[scenario.name], rng.random() < 0.5
    told = f"{' '.join(command := workspace.command(scenario, out))} killed after {after:.2f} s"
    limits = [] if scenario.whole else ["SPACING=0.01"]
    running = workspace.program.start(command, workspace.folder, limits, subprocess.DEVNULL)
    time.sleep(after)
    (os.killpg if every else os.kill)(running.pid, signal.SIGKILL)
    running.wait()
    remaining = left(lambda: members(running.pid))
    kill_group(running.pid)
    if remaining:
        return Outcome.LOST, f"{told}: still running after {PATIENCE:.0f} s: {remaining[0]}"
    if scenario.ended and scenario.ended(out):
        others = differences(workspace.digests[scenario.name], digest(out))
        return (Outcome.SILENT if others else Outcome.HARMLESS), f"{told}, after its end: {others}"
    return restarted(workspace, scenario, workspace.program.run(command, workspace.folder), out, told)


def restarted(
    workspace: Workspace, scenario: Scenario, done: Done, out: Path, told: str
) -> tuple[Outcome, str]:
    """The outcome of a command that ran again after a fault."""
    if done.failure:
        return done.failure, f"{told}, then started again: {done.message}"
    if done.status != 0:
        return Outcome.LOST, f"{told}, then started again: {done.message}"
    if others := differences(workspace.digests[scenario.name], digest(out)):
        return Outcome.SILENT, f"{told}, then started again: {others} differ"
    return Outcome.HARMLESS, told


def differences(expected: dict[str, str], found: dict[str, str]) -> str:
    """The names of files that differ, are missing, or are too many."""
    return ", ".join(sorted(name for name, _ in expected.items() ^ found.items()))[:300]


def left(found: Callable[[], list[str]]) -> list[str]:
    """What is still found after `PATIENCE` seconds."""
    end = time.monotonic() + PATIENCE
    while (remaining := found()) and time.monotonic() < end:
        time.sleep(0.05)
    return remaining
