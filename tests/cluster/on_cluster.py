"""Helpers for cluster tests: submit runs, inspect pods with kubectl, read results from the store."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ctrloom import storage
from ctrloom.config import ClusterConfig
from ctrloom.evaluation.results import Results
from ctrloom.runners.endpoint import Endpoint

PATIENCE = 2400  # seconds for one run of small data
Figures = dict[tuple[str, int], dict[str, float]]


@dataclass(frozen=True)
class Cluster:
    """A cluster, and the location of the tests' data."""

    folder: Path  # on this machine
    store: str
    root: str
    namespace: str
    hardware: str

    def ctrloom(self, *arguments: object, store: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of ctrloom in the folder."""
        command = [sys.executable, "-W", "ignore", "-m", "ctrloom", *map(str, arguments)]
        environment = {**os.environ, "CTRLOOM_STORE": store or self.store, "CTRLOOM_HARDWARE": self.hardware}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def submit(self, config: str, *arguments: object) -> str:
        """Start a run; returns its id."""
        done = self.ctrloom("submit", config, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1]

    def wait(self, run: str) -> subprocess.CompletedProcess[str]:
        """Run `ctrloom wait` for a run."""
        return self.ctrloom("wait", run, "--timeout", PATIENCE)

    def succeed(self, config: str, *arguments: object) -> str:
        """Start a run and require its success; returns its id."""
        run = self.submit(config, *arguments)
        done = self.wait(run)
        assert done.returncode == 0, done.stderr
        return run

    def write(self, name: str, sections: dict[str, Any]) -> str:
        """Write a configuration to the folder; returns its name."""
        (self.folder / name).write_text(yaml.safe_dump(sections))
        return name

    def put(self, name: str) -> str:
        """Upload a file of the folder to the store; returns its URL."""
        storage.put(self.folder / name, storage.place(f"{self.store}/raw/{name}"))
        return f"{self.store}/raw/{name}"

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl; returns its output."""
        command = ["kubectl", "--namespace", self.namespace, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def pods(self, run: str) -> list[dict[str, Any]]:
        """The pods of a run that run a component."""
        listed = json.loads(self.kubectl("get", "pods", "-l", f"pipeline/runid={run}", "-o", "json"))
        named = "system-container-impl"
        return [pod for pod in listed["items"] if named in pod["metadata"]["name"]]

    def artifact(self, run: str, step: str, name: str) -> str:
        """URL of an artifact of a step."""
        pipeline = self.api("runs").run_service_get_run(run)
        spec = pipeline.pipeline_spec or {}
        title = (spec.get("pipeline_spec") or spec)["pipelineInfo"]["name"]
        root = self.root.replace("minio://", "s3://")
        (attempt,) = storage.folders(storage.place(f"{root}/{title}/{run}/{step}"))
        return f"{root}/{title}/{run}/{step}/{attempt}/{name}"

    def api(self, service: str) -> Any:
        """A service of KFP's API client."""
        return getattr(Endpoint(ClusterConfig(endpoint=os.environ["CTRLOOM_ENDPOINT"])), service)


def figures(metrics: str | Path) -> Figures:
    """AUC and logloss of every model and seed, on both splits."""
    results = storage.read_record(str(metrics), Results)
    return {
        (model.name, seed.seed): {
            f"{split} {metric}": getattr(getattr(seed, split), metric)
            for split in ("valid", "test")
            for metric in ("auc", "logloss")
        }
        for model in results.models
        for seed in model.seeds
    }


def farthest(mine: Figures, theirs: Figures) -> float:
    """The largest difference between figures of the same models and seeds."""
    assert mine.keys() == theirs.keys()
    return max(abs(mine[key][name] - theirs[key][name]) for key in mine for name in mine[key])


def until(found: Any, seconds: float, what: str) -> Any:
    """Poll `found` until it returns a true value."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, f"no {what} within {seconds:.0f} seconds"
        time.sleep(3)
    return value
