"""A folder with data and configurations, and the results of every scenario when nothing fails."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from digest import digest
from program import SECONDS, Program
from scenarios import (
    CHECKPOINTS,
    COMPARE,
    DAILY,
    FIRST,
    FLIPPED,
    JOINED,
    METHODS,
    NIGHTLY,
    RUN,
    SCENARIOS,
    Scenario,
)
from traffic import LABELS, LOG, label, sample, send, served

from ctrloom.config.errors import UserError
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.runners.local import STEPS, finished_steps
from ctrloom.runners.resume import BEGUN
from ctrloom.stages.job_records import write_failure

ACCEPT = "regression compare.yaml --baseline baseline.json --accept --output accepted"
PARTS = 3  # files of a folder of predictions


class Workspace:
    """A folder with data and configurations, and the results of every scenario when nothing fails."""

    def __init__(self, folder: Path, program: Program) -> None:
        self.folder, self.program = folder, program
        self.said: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.digests: dict[str, dict[str, str]] = {}

    def make_files(self) -> None:
        """Make the data and the configurations."""
        sizes = {"fields": 4, "sizes": (8,), "pairs": 1, "seed": 3}
        synthesize(SynthConfig(rows=2_500, **sizes), self.folder)
        truth = (self.folder / "truth.json").read_bytes()
        synthesize(SynthConfig(rows=5_000, days=2, renewed=0.3, zipf=0.0, **sizes), self.folder)
        (self.folder / "truth.json").write_bytes(truth)
        files = {"run": RUN, "compare": COMPARE, "daily": DAILY, "first": FIRST}
        files |= {method: {**RUN, "search": settings} for method, settings in METHODS.items()}
        files |= {"nightly": NIGHTLY, "joined": JOINED}
        files["autopi"]["transfer"] = []  # it finds cells, which no other model has
        for name, content in files.items():
            (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        head, *lines = (self.folder / "clicks.csv").read_text().splitlines(keepends=True)
        for number in range(PARTS):
            (self.folder / f"part-{number}.csv").write_text("".join([head, *lines[number::PARTS]]))
        write_failure(self.folder / "reference" / "failed", "fm", 0, UserError("it cannot be trained"))

    def prepare(self, chosen: Sequence[str] = ()) -> None:
        """Run every scenario once, or those up to the last of the chosen ones."""
        names = [scenario.name for scenario in SCENARIOS]
        is_part = bool(chosen) and {*chosen} <= {*names}
        needed = SCENARIOS[: max(map(names.index, chosen)) + 1] if is_part else SCENARIOS
        if any("baseline.json" in scenario.command for scenario in needed):
            done = self.program.run(ACCEPT.split(), self.folder)
            assert done.status == 0, done.err
        for scenario in needed:
            if scenario.name == "join-labels":
                self._log()
            out = self.folder / "reference" / scenario.name.replace(" ", "-")
            if scenario.again:  # a stopped run resumes where it was
                out = self.folder / FLIPPED
            self.try_once(scenario, out)
            if scenario.again:
                shutil.rmtree(out)
            if scenario.name == "run":
                self._stop()
            elif scenario.name == "autofis":
                out = self.folder / "stopping-search"
                at = out.with_name(f".{out.name}.checkpoints")
                self._stop_training(scenario, out, at, 1, "search-checkpoints")

    def try_once(self, scenario: Scenario, out: Path, seconds: float = SECONDS) -> None:
        """Run a scenario without any fault, and record what comes of it."""
        done = self.program.run(self.command(scenario, out), self.folder, seconds=seconds)
        if done.status != 0:
            raise SystemExit(f"{scenario.name} fails without any fault: {done.out}{done.err}")
        self.said[scenario.name], self.seconds[scenario.name] = done.last_line, done.seconds
        self.digests[scenario.name] = digest(out)

    def _stop(self) -> None:
        """Make what is left of a retraining and of a run that are stopped, the latter at FLIPPED."""
        scenarios = {each.name: each for each in SCENARIOS}
        out = self.folder / "stopping"
        self._stop_training(scenarios["retrain"], out, out / CHECKPOINTS, 4, "checkpoints")
        out = self.folder / FLIPPED
        running = self.program.start(
            self.command(scenarios["run"], out), self.folder, output=subprocess.DEVNULL
        )
        while "retrain" not in finished_steps(out / STEPS) and running.poll() is None:
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        assert (out / BEGUN).exists(), "the run ended before it was stopped"
        out.rename(self.folder / "reference" / "stopped")

    def _stop_training(self, scenario: Scenario, out: Path, checkpoints: Path, count: int, to: str) -> None:
        """Keep the checkpoints that a stage has when it is stopped, `count` or more."""
        command = self.command(scenario, out)
        running = self.program.start(command, self.folder, ["SPACING=0.01"], subprocess.DEVNULL)
        while len([*checkpoints.rglob("*.json")]) < count and running.poll() is None:
            time.sleep(0.005)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        checkpoints.rename(self.folder / "reference" / to)

    def _log(self) -> None:
        """Make the log of a server, and labels of its rows."""
        with served(self.folder, self.folder / LOG) as port:
            for request in sample(self.folder):
                send(port, request)
        label(self.folder / LABELS, sample(self.folder))

    def command(self, scenario: Scenario, out: Path) -> list[str]:
        """The arguments of a scenario that writes to `out`, which is made ready."""
        out.mkdir(parents=True)
        if scenario.prepare:
            scenario.prepare(self.folder, out)
        values = {"out": str(out), "folder": str(self.folder), **self.said}
        return [part.format_map(values) for part in scenario.command.split()]
