"""A small run that is killed and restarted, and helpers to check its results."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.evaluation.results import Results
from ctrloom.runners.local import STEPS, finished_steps

RUN = {
    "name": "stopped",
    "data": {"files": "clicks.csv", "columns": {"click": "label", "field_00..field_03": "categorical"}},
    "search": {"batch_size": 200, "random_draws": 1},
    "models": {"default": {"hidden": [8], "epochs": 2, "batch_size": 500}},
    "baselines": ["lr", "fm"],
    "transfer": ["ipnn"],
    "seeds": [0, 1],
    "evaluation": {"base": "fm", "truth": "truth.json", "bootstrap": 50},
}
CLOCKS = {"train_rows_per_second", "inference_rows_per_second", "train_seconds", "search_seconds"}


def prepare(folder: Path) -> None:
    """Make the clicks and `run.yaml`."""
    synthesize(SynthConfig(rows=6_000, fields=4, sizes=(8,), pairs=1, seed=3), folder)
    (folder / "run.yaml").write_text(yaml.safe_dump(RUN))


def figures(output: Path) -> list[dict[str, Any]]:
    """All results of a run's models, except times."""
    models = Results.load(output / "metrics.json").models
    assert models
    return [model.model_dump(exclude=CLOCKS) for model in models]


def kill(command: Sequence[str], folder: Path, output: Path, after: str) -> set[str]:
    """Start a run and kill it less than a second after a step; returns the finished steps."""
    with subprocess.Popen(command, cwd=folder, start_new_session=True) as running:
        while after not in finished_steps(output / STEPS):
            assert running.poll() is None
            time.sleep(0.02)
        ended = set(times_done(output))
        time.sleep(random.random())
        os.killpg(running.pid, signal.SIGKILL)
    assert not (output / "metrics.json").exists(), after
    # This step may not be recorded as finished yet.
    return {step for step in ended if Path(step).name != after}


def times_done(output: Path) -> Counter[str]:
    """How often every step finished; a step in a loop is named with its iteration."""
    ends = (output / STEPS).rglob("executor_output.json")
    return Counter(str(Path(*path.parent.relative_to(output / STEPS).parts[1:])) for path in ends)
