"""Runs that are tracked by their commands, as users start them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow_server import Server

pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")
pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")

from ctrloom.data.synthetic import SynthConfig, synthesize

RUN: dict[str, Any] = {
    "name": "small",
    "data": {"files": "clicks.csv", "columns": {"click": "label", "field_00..field_02": "categorical"}},
    "search": {"method": "statistics_auc", "keep": {"2": 1}, "random_draws": 1},
    "models": {"default": {"epochs": 2, "batch_size": 500}},
    "baselines": ["fm"],
    "transfer": [],
    "seeds": [0],
    "evaluation": {"base": "fm", "bootstrap": 50, "permutations": 0},
}


def ctrloom(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "ctrloom", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
def test_a_run_is_tracked_once_and_again(server: Server, tmp_path: Path) -> None:
    synthesize(SynthConfig(rows=3_000, fields=3, sizes=(6,), pairs=1, seed=3), tmp_path)
    trackers = {"mlflow": {"uri": server.url, "experiment": "command"}, "tensorboard": "tb", "seconds": 600}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**RUN, "tracking": trackers}))
    said = ctrloom(tmp_path, "run", "run.yaml", "--output", "out")
    assert "warning: tracking" not in said
    runs = server.runs("command")
    assert {"-", "fm", "fm/seed-0", "autofm", "autofm/seed-0"} <= runs.keys()
    assert not list((tmp_path / "out" / "steps").rglob("track"))  # this process did it
    (events,) = (tmp_path / "tb").iterdir()
    options = "--mlflow", server.url, "--experiment", "command", "--tensorboard", "tb"
    ctrloom(tmp_path, "track", "out", *options)
    assert {path: run["id"] for path, run in server.runs("command").items()} == {
        path: run["id"] for path, run in runs.items()
    }
    assert list((tmp_path / "tb").iterdir()) == [events]
    # A server that is down costs the run a warning.
    down = "tracking.mlflow.uri=http://127.0.0.1:9"
    said = ctrloom(tmp_path, "run", "run.yaml", "--output", "out", "--set", down)
    (line,) = (line for line in said.splitlines() if "warning: tracking" in line)
    assert "; later: ctrloom track " in line
