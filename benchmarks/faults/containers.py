"""Kills of a run with every step in a container: of its first process, of all of them, or of a container."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from contained_run import IMAGE, IN_CONTAINERS, containers_of
from digest import digest
from kills import PATIENCE, differences, left, restarted
from outcome import Outcome, Tally
from program import Done, kill_group
from scenarios import RUN, Scenario
from workspace import Workspace

from ctrloom.runners.containers import EngineError, find_engine, image_id

SECONDS = 600.0  # every step starts Python in a container, so that there are few
SETTINGS = {key: value for key, value in RUN.items() if key != "tuning"} | {"baselines": ["fm"], "seeds": [0]}
VICTIMS = ("command", "command and its client", "container")
SCENARIO = Scenario(
    "run in containers", f"run contained.yaml --output {{out}} {' '.join(IN_CONTAINERS)}", whole=True
)


def container_kills(workspace: Workspace, count: int, rng: random.Random) -> Iterator[Tally]:
    """Kill the run `count` times, one kind of process after the other."""
    tally = Tally("kill", SCENARIO.name, not_run=unavailable())
    if not tally.not_run:
        (workspace.folder / "contained.yaml").write_text(yaml.safe_dump(SETTINGS))
        workspace.try_once(SCENARIO, workspace.folder / "reference" / "contained", SECONDS)
        for number in range(count):
            out = workspace.folder / "killed" / f"contained-{number}"
            tally.add(*killed(workspace, VICTIMS[number % len(VICTIMS)], out, rng))
            shutil.rmtree(out, ignore_errors=True)
    yield tally


def unavailable() -> str:
    """Why no container can be started; empty if one can."""
    try:
        engine = find_engine()
        command = [engine, "run", "--rm", "--entrypoint=true", image_id(engine, IMAGE)]
    except EngineError as error:
        return str(error)
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{engine} cannot start a container: {tried.stderr.strip()[-300:]}" if tried.returncode else ""


def killed(workspace: Workspace, victim: str, out: Path, rng: random.Random) -> tuple[Outcome, str]:
    """Kill the run, or what runs its step, and start it again."""
    engine, after = find_engine(), rng.random() * workspace.seconds[SCENARIO.name]
    told = f"{' '.join(command := workspace.command(SCENARIO, out))}: {victim} killed after {after:.2f} s"
    running = workspace.program.start(command, workspace.folder)
    time.sleep(after)
    if victim == "container":
        while not (found := containers_of(engine, out)) and running.poll() is None:
            time.sleep(0.05)
        subprocess.run([engine, "kill", *found], capture_output=True, check=False)
    else:
        (os.kill if victim == "command" else os.killpg)(running.pid, signal.SIGKILL)
    done = _ended(running)
    if victim == "container":
        if done.failure:
            return done.failure, f"{told}: {done.message}"
        if done.status not in (0, 2) or (done.status == 2 and "it was killed (SIGKILL)" not in done.err):
            return Outcome.LOST, f"{told}: status {done.status}: {done.message}"
    remaining = left(lambda: containers_of(engine, out, "--all"))
    if remaining:
        return Outcome.LOST, f"{told}: containers after {PATIENCE:.0f} s: {', '.join(remaining)}"
    if done.status == 0:
        others = differences(workspace.digests[SCENARIO.name], digest(out))
        return (Outcome.SILENT if others else Outcome.HARMLESS), f"{told}, after its end: {others}"
    again = workspace.program.run(command, workspace.folder, seconds=SECONDS)
    return restarted(workspace, SCENARIO, again, out, told)


def _ended(running: subprocess.Popen[str]) -> Done:
    began = time.perf_counter()
    try:
        output, errors = running.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        kill_group(running.pid)
        output, errors = running.communicate()
        return Done(None, output, errors, SECONDS)
    return Done(running.returncode, output, errors, time.perf_counter() - began)
