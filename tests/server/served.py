"""A running server for tests, and requests to it without any client library."""

import csv
import http.client
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import small
import torch

from ctrloom import storage
from ctrloom.architecture import Architecture
from ctrloom.config import ModelsConfig
from ctrloom.data.dataset import Dataset
from ctrloom.models import build
from ctrloom.models.bundle import Bundle, ModelCard, save_bundle
from ctrloom.serving.registry import Registry, version_name
from ctrloom.serving.server.models import Follower, Models, from_bundle
from ctrloom.serving.server.options import Limits, ServerOptions
from ctrloom.serving.server.run import Server
from ctrloom.serving.server.service import Service

INFER = "/v2/models/champion/infer"
DATATYPES = {"user": "BYTES", "age": "FP64", "price": "FP64", "tags": "BYTES"}
LITTLE = Limits(
    body_bytes=64 << 10, header_bytes=4 << 10, rows=500, header_seconds=0.6, body_seconds=0.9, idle_seconds=1
)


@dataclass
class Served:
    """A running server."""

    server: Server
    service: Service

    @property
    def port(self) -> int:
        return self.server.http_port

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.server.grpc_port}"

    def call(
        self, path: str = INFER, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the response; GET without a body, POST with one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET" if body is None else "POST", path, body, dict(headers or {}))
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        content = response.read()
        connection.close()
        return response.status, found, content

    def infer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request, which must succeed."""
        status, _, content = self.call(body=json.dumps(request).encode())
        assert status == 200, content
        return json.loads(content)

    def open(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def metric(self, line: str) -> float:
        """The value of a metric, given with its labels."""
        text = self.call("/metrics")[2].decode()
        return next(
            (float(each.rsplit(" ", 1)[1]) for each in text.splitlines() if each.startswith(f"{line} ")), 0
        )


@contextmanager
def served(source: Path | Registry, limits: Limits = LITTLE, **options: Any) -> Iterator[Served]:
    """A server of a bundle or of a registry's champion, on free ports."""
    chosen = ServerOptions(port=0, grpc_port=0, limits=limits, **{"finish_seconds": 2, **options})
    models = Models(chosen.name)
    service = Service(models, chosen)
    follower = Follower(source, models, chosen.poll_seconds) if isinstance(source, Registry) else None
    if follower:
        follower.start()
    else:
        models.exchange(from_bundle(source))
    server = Server(service)
    server.start()
    try:
        yield Served(server, service)
    finally:
        server.close()
        if follower:
            follower.stop()
            follower.thread.join()


def lines(folder: Path, count: int = 300) -> list[dict[str, str]]:
    """Rows of `test.csv`, as text."""
    return list(csv.DictReader((folder / "test.csv").read_text().splitlines()))[:count]


def request_of(rows: Sequence[Mapping[str, str]], **more: Any) -> dict[str, Any]:
    """The request for rows given as text: numbers as numbers, and null for missing values."""

    def value(name: str, text: str) -> Any:
        return None if text == "" else float(text) if DATATYPES[name] == "FP64" else text

    inputs = [
        {"name": n, "datatype": kind, "shape": [len(rows)], "data": [value(n, row[n]) for row in rows]}
        for n, kind in DATATYPES.items()
    ]
    return {"inputs": inputs, **more}


def version_of(bundle: Path) -> str:
    """The version that registries give a bundle."""
    return version_name(storage.described(bundle))


def write_bundle(data: Dataset, folder: Path, seed: int) -> Path:
    """A bundle of DeepFM with initial weights."""
    every = Architecture.complete(data.schema.names)
    settings = ModelsConfig({"default": {**small.LITTLE.model_dump(), "embedding_std": 0.5}}).of("deepfm")
    torch.manual_seed(seed)
    card = ModelCard(
        model="deepfm",
        title="DeepFM",
        hyperparameters=settings,
        seed=seed,
        data_fingerprint=data.data_fingerprint,
        schema_fingerprint=data.schema.fingerprint,
        architecture_fingerprint=every.fingerprint,
        code_version="test",
    )
    made = Bundle(card, every, data.schema, build("deepfm", every, data.schema, settings))
    save_bundle(made, data.directory, folder, data.manifest.encoder)
    return folder
