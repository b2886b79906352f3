"""Gives bytes to ctrloom as the answer of Kubeflow Pipelines."""

import json
from collections.abc import Sequence
from typing import Any

import urllib3

from ctrloom.config import ClusterConfig
from ctrloom.runners.cluster import Cluster

RUN = {
    "run_id": "1",
    "state": "FAILED",
    "created_at": "2026-11-30T00:00:00Z",
    "state_history": [{"state": "RUNNING", "update_time": "2026-11-30T00:00:00Z"}],
    "run_details": {
        "task_details": [{"display_name": "ingest", "state": "FAILED", "error": {"message": "x"}}]
    },
}
LISTED = {"experiments": [{"experiment_id": "1", "display_name": "ctrloom"}], "next_page_token": ""}
STATUSES = (200, 200, 200, 302, 400, 401, 404, 429, 500, 503)


class Answers:
    """A cluster whose every answer is the same bytes; the first one chooses the status."""

    seeds: Sequence[bytes] = [
        b"\0" + json.dumps(RUN).encode(),
        b"\0" + json.dumps(LISTED).encode(),
        b"\x05{}",
    ]

    def __init__(self) -> None:
        self.cluster = Cluster(ClusterConfig.parse({"endpoint": "http://127.0.0.1:9"}, "fuzz"))
        self.answer: tuple[int, bytes] = 200, b""
        urllib3.PoolManager.request = self._request  # type: ignore[method-assign, assignment]

    def take(self, data: bytes) -> None:
        """Wait for a run, and look for the experiment."""
        self.answer = STATUSES[data[0] % len(STATUSES)] if data else 200, data[1:]
        self.cluster.wait("1", timeout=0)
        self.cluster._experiment()

    def _request(self, *_: Any, **__: Any) -> urllib3.HTTPResponse:
        status, body = self.answer
        return urllib3.HTTPResponse(body, {"content-type": "application/json"}, status, reason="fuzzed")
