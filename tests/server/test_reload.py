"""A server follows its registry: new champions, damaged ones, and none yet."""

import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from served import DATATYPES, INFER, Served, lines, request_of, served, version_of

from ctrloom import load_bundle
from ctrloom.serving.registry import Registry
from ctrloom.serving.server.models import Rejected
from ctrloom.serving.server.options import Limits

QUICK = 0.05  # seconds between two polls


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def promote(registry: Registry, version: str) -> None:
    champion = registry.champion()
    registry.promote(version, champion and champion[1])


def serving(running: Served) -> str:
    model = running.service.models.current
    return model.version if model else ""


@dataclass
class Load:
    """Clients that send the same rows, and compare every answer with the model of its version."""

    running: Served
    rows: list[dict[str, str]]
    expected: dict[str, np.ndarray]  # by version
    answers: int = 0
    versions: set[str] = field(default_factory=set)
    faults: list[object] = field(default_factory=list)
    ended: bool = False

    def check(self, version: str, probability: np.ndarray) -> None:
        self.answers += 1
        self.versions.add(version)
        if not np.array_equal(np.float32(probability), self.expected[version]):
            self.faults.append((version, probability))

    def http(self) -> None:
        body = json.dumps(request_of(self.rows))
        connection = HTTPConnection("127.0.0.1", self.running.port, timeout=30)
        while not self.ended:
            connection.request("POST", INFER, body)
            response = connection.getresponse()
            content = response.read()
            if response.status != 200:
                self.faults.append(content)
                break
            answer = json.loads(content)
            self.check(answer["model_version"], answer["outputs"][0]["data"])
        connection.close()

    def grpc(self) -> None:
        inputs = []
        for name in DATATYPES:
            inputs.append(triton.InferInput(name, [len(self.rows)], "BYTES"))
            inputs[-1].set_data_from_numpy(np.array([row[name].encode() for row in self.rows], dtype=object))
        with triton.InferenceServerClient(self.running.grpc) as client:
            while not self.ended:
                got = client.infer("champion", inputs)
                self.check(got.get_response().model_version, got.as_numpy("probability"))

    def guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.faults.append(error)


def no_answer_is_lost_or_mixed(
    promotions: int, bundles: list[Path], mixed_folder: Path, tmp_path: Path
) -> Load:
    registry = Registry(str(tmp_path / "registry"))
    versions = [registry.add(bundle, {}, {}) for bundle in bundles]
    rows = lines(mixed_folder, 5)
    found = {v: load_bundle(str(b)).predict(rows) for v, b in zip(versions, bundles, strict=True)}
    assert len({tuple(each) for each in found.values()}) == len(bundles)
    promote(registry, versions[0])
    with served(registry, Limits(), poll_seconds=QUICK) as running:  # clients may pause
        load = Load(running, rows, found)
        clients = [
            threading.Thread(target=load.guarded, args=(w,)) for w in (load.http, load.http, load.grpc)
        ]
        for client in clients:
            client.start()
        for number in range(1, promotions + 1):
            version = versions[number % len(versions)]
            promote(registry, version)
            until(lambda version=version: serving(running) == version)
        load.ended = True
        for client in clients:
            client.join()
        assert running.metric('ctrloom_reloads_total{result="loaded"}') == promotions
    assert load.faults == []
    assert load.versions == set(versions)
    return load


def test_no_answer_is_lost_or_mixed(bundles: list[Path], mixed_folder: Path, tmp_path: Path) -> None:
    assert no_answer_is_lost_or_mixed(8, bundles, mixed_folder, tmp_path).answers > 20


@pytest.mark.slow
def test_no_answer_is_lost_or_mixed_in_100_promotions(
    bundles: list[Path], mixed_folder: Path, tmp_path: Path
) -> None:
    assert no_answer_is_lost_or_mixed(100, bundles, mixed_folder, tmp_path).answers > 1000


def test_a_damaged_version_is_rejected_and_the_served_one_stays(
    bundles: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(str(tmp_path / "registry"))
    good, damaged, better = (registry.add(bundle, {}, {}) for bundle in bundles[:3])
    weights = tmp_path / "registry" / "versions" / damaged / "bundle" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    promote(registry, good)
    with served(registry, poll_seconds=QUICK) as running:
        promote(registry, damaged)
        until(lambda: running.service.models.reloads["rejected"] > 2)
        assert serving(running) == good
        assert running.call("/v2/health/ready")[0] == 200
        assert running.metric('ctrloom_reloads_total{result="rejected"}') > 2
        promote(registry, better)
        until(lambda: serving(running) == better)
    said = [line for line in capfd.readouterr().err.splitlines() if "rejected" in line]
    assert len(said) == 1
    assert f"warning: version {damaged} was rejected, {good} is served: " in said[0]
    assert "model.safetensors" in said[0]


def test_attempts_with_a_rejected_version_become_rare_and_another_version_is_due() -> None:
    rejected, waits = Rejected(), []
    for _ in range(12):
        rejected = rejected.again("a", "", 10)
        waits.append(round(rejected.due - time.monotonic()))
    assert waits == [20, 40, 80, 160, *[300] * 8]
    assert not rejected.is_due("a")
    assert rejected.is_due("b")
    assert rejected.again("b", "", 10).attempts == 1


def test_a_registry_that_cannot_be_read_changes_nothing(bundles: list[Path], tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    first, second = (registry.add(bundle, {}, {}) for bundle in bundles[:2])
    promote(registry, first)
    champion = tmp_path / "registry" / "champion.json"
    with served(registry, poll_seconds=QUICK) as running:
        kept = champion.read_text()
        champion.write_text("{")
        time.sleep(4 * QUICK)
        assert serving(running) == first
        shutil.rmtree(tmp_path / "registry" / "versions" / first)
        assert running.infer(request_of([dict.fromkeys(DATATYPES, "")]))["model_version"] == first
        champion.write_text(kept)
        promote(registry, second)
        until(lambda: serving(running) == second)


def test_a_server_waits_for_the_first_champion(bundle: Path, tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    body = json.dumps(request_of([dict.fromkeys(DATATYPES, "")])).encode()
    with served(registry, poll_seconds=QUICK) as running:
        assert running.call("/v2/health/live")[0] == 200
        assert running.call("/v2/health/ready")[0] == 503
        status, headers, content = running.call(body=body)
        assert (status, headers["retry-after"]) == (503, "1")
        assert "no champion yet" in json.loads(content)["error"]
        with triton.InferenceServerClient(running.grpc) as client:
            assert client.is_server_live()
            assert not client.is_server_ready()
            assert not client.is_model_ready("champion")
        promote(registry, registry.add(bundle, {}, {}))
        until(lambda: running.call("/v2/health/ready")[0] == 200)
        assert running.call(body=body)[0] == 200
    assert serving(running) == version_of(bundle)
