"""A real MLflow server over a database file, read through its REST API without MLflow's client."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

START = 300.0  # seconds, on a busy machine
API = "/api/2.0/mlflow"


@dataclass(frozen=True)
class Server:
    """The address of a server, and questions to it."""

    url: str

    def ask(self, path: str, body: dict[str, Any] | None = None, **query: str) -> Any:
        """JSON of a GET, or of a POST if there is a body."""
        address = f"{self.url}{API}{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def experiment(self, name: str) -> str:
        """Id of an experiment."""
        return str(self.ask("/experiments/get-by-name", experiment_name=name)["experiment"]["experiment_id"])

    def runs(self, experiment: str) -> dict[str, dict[str, Any]]:
        """Active runs of an experiment by their place: `-`, `fm`, `fm/seed-0`."""
        body = {"experiment_ids": [self.experiment(experiment)], "max_results": 1_000}
        found = [_Run(each).plain() for each in self.ask("/runs/search", body).get("runs", [])]
        by_path = {each["tags"]["ctrloom.path"]: each for each in found}
        assert len(by_path) == len(found), "two runs are of the same model and seed"
        return by_path

    def curve(self, run: str, key: str) -> list[tuple[int, float]]:
        """Steps and values of a metric."""
        found = self.ask("/metrics/get-history", run_id=run, metric_key=key)["metrics"]
        return [(int(each.get("step", 0)), each["value"]) for each in found]

    def files(self, run: str) -> set[str]:
        """Names of the files of a run."""
        return {each["path"] for each in self.ask("/artifacts/list", run_id=run).get("files", [])}

    def file(self, run: dict[str, Any], name: str) -> bytes:
        """Content of a file of a run."""
        place = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        address = f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{place}/{name}"
        with urllib.request.urlopen(address, timeout=60) as response:
            return bytes(response.read())

    def models(self, experiment: str) -> list[dict[str, Any]]:
        """Logged models of an experiment."""
        found = self.ask("/logged-models/search", {"experiment_ids": [self.experiment(experiment)]})
        return [each["info"] for each in found.get("models", [])]


@dataclass(frozen=True)
class _Run:
    raw: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        info, data = self.raw["info"], self.raw["data"]
        return {
            "id": info["run_id"],
            "status": info["status"],
            "name": info["run_name"],
            "artifact_uri": info["artifact_uri"],
            "metrics": {each["key"]: each["value"] for each in data.get("metrics", [])},
            "params": {each["key"]: each["value"] for each in data.get("params", [])},
            "tags": {each["key"]: each["value"] for each in data.get("tags", [])},
        }


def free_port() -> int:
    """A port that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path) -> Iterator[Server]:
    """Start a server whose database and files are in a folder."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "files")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", folder / "log.txt")
            yield Server(f"http://127.0.0.1:{port}")
        finally:
            os.killpg(process.pid, 15)  # uvicorn's workers, too
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
    raise AssertionError(f"no answer within {START} seconds: {log.read_text()}")
