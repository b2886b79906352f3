"""The harness of `make faults` can fail, and its fuzz targets take their own seeds."""

import os
import random
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks" / "faults"))

from containers import SCENARIO, VICTIMS, container_kills, killed
from digest import digest
from flips import Flip
from fuzz.json_edits import VALUES, edited
from fuzz.targets import TARGETS
from hostile.case import Case
from outcome import FAILURES, Outcome, Tally, read_tally
from program import Done, Program
from report import failed, report
from workers import in_workers
from workspace import Workspace

from ctrloom.config.errors import UserError


@pytest.mark.parametrize(
    ("case", "done", "outcome"),
    [
        (Case("rejected", error="no column"), Done(2, "", "ctrloom: no column 'a'", 0), Outcome.DETECTED),
        (Case("other message", error="no column"), Done(2, "", "ctrloom: no file", 0), Outcome.LOST),
        (Case("accepted", error="no column"), Done(0, "", "", 0), Outcome.SILENT),
        (Case("read"), Done(0, "", "", 0), Outcome.HARMLESS),
        (Case("read as something else", check=lambda *_: False), Done(0, "", "", 0), Outcome.SILENT),
        (Case("no warning", warning="twice"), Done(0, "", "", 0), Outcome.SILENT),
        (Case("rejected, but valid"), Done(2, "", "ctrloom: no", 0), Outcome.LOST),
        (Case("secret", error="no", hidden="pw"), Done(2, "", "ctrloom: no: pw", 0), Outcome.SILENT),
        (Case("defect", error="x"), Done(1, "", "Traceback (most recent call last):", 0), Outcome.TRACEBACK),
        (Case("crash", error="x"), Done(-signal.SIGSEGV, "", "", 0), Outcome.TRACEBACK),
        (Case("hang", error="x"), Done(None, "", "", 0), Outcome.HANG),
    ],
    ids=lambda value: value.name if isinstance(value, Case) else "",
)
def test_outcome_of_a_case(case: Case, done: Done, outcome: Outcome, tmp_path: Path) -> None:
    assert case.judge(tmp_path, done)[0] == outcome


def test_a_flip_changes_one_byte_and_undoes_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    flip = Flip(tmp_path / "file", 1, 2)
    before = digest(tmp_path)
    flip.apply()
    assert (tmp_path / "file").read_bytes() == b"a`c"
    assert digest(tmp_path) != before
    flip.apply()
    assert digest(tmp_path) == before


def test_digests_are_without_times(tmp_path: Path) -> None:
    for folder, seconds, auc in (("a", 1, 0.5), ("b", 2, 0.5), ("c", 1, 0.6)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.json").write_text(f'{{"train_seconds": {seconds}, "auc": {auc}}}')
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_a_worker_that_dies_is_replaced() -> None:
    calls = [lambda: 1, lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: 3]
    assert list(in_workers(calls)) == [1, -signal.SIGKILL, 3]


def test_kills_of_containers_need_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CTRLOOM_ENGINE", raising=False)
    [tally] = container_kills(Workspace(tmp_path, Program("none")), 3, random.Random(0))
    assert tally.tried == 0
    assert "podman and docker are not on the PATH" in report([tally], "machine", "command")


ENGINE = """#!/bin/sh
case "$1" in
ps) if [ -e "$0.left" ] || kill -0 "$(cat "$0.running")" 2>/dev/null; then echo 0123; fi;;
kill) rm "$0.running";;
esac
"""
COMMAND = """#!/bin/sh
# -m ctrloom run contained.yaml --output OUT; it waits for its container, and finishes when it runs again
if [ ! -e "$6/steps" ]; then
  mkdir "$6/steps"
  echo $$ > {engine}.new && mv {engine}.new {engine}.running
  while [ -e {engine}.running ]; do sleep 0.02; done
  echo 'ctrloom: step retrain: it was killed (SIGKILL)' >&2
  exit 2
fi
echo same > "$6/result"
"""


@pytest.mark.parametrize(
    ("victim", "expected", "left", "outcome"),
    [
        *((victim, "same", False, Outcome.HARMLESS) for victim in VICTIMS),
        ("command", "other", False, Outcome.SILENT),
        ("command and its client", "same", True, Outcome.LOST),
        ("container", "same", True, Outcome.LOST),
    ],
)
def test_outcome_of_a_killed_run_in_containers(
    victim: str, expected: str, left: bool, outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With scripts in the place of the engine and of the command."""
    engine, command = tmp_path / "podman", tmp_path / "python"
    running = tmp_path / "podman.running"
    for script, content in ((engine, ENGINE), (command, COMMAND.replace("{engine}", str(engine)))):
        script.write_text(content)
        script.chmod(0o755)
    if left:
        (tmp_path / "podman.left").touch()

    def sleep(seconds: float) -> None:
        while not running.exists():
            time.sleep(0.01)

    monkeypatch.setenv("CTRLOOM_ENGINE", str(engine))
    monkeypatch.setattr("kills.PATIENCE", 0.2)
    monkeypatch.setattr("containers.time", SimpleNamespace(sleep=sleep, perf_counter=time.perf_counter))
    workspace = Workspace(tmp_path, Program(str(command)))
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "result").write_text(f"{expected}\n")
    workspace.seconds[SCENARIO.name] = 0.0
    workspace.digests[SCENARIO.name] = digest(tmp_path / "reference")
    assert killed(workspace, victim, tmp_path / "out", random.Random(0))[0] == outcome


def test_the_table_counts_and_lists_failures() -> None:
    tally = Tally("kill", "retrain")
    for outcome in Outcome:
        tally.add(outcome, f"an example of {outcome}")
    assert read_tally(tally.as_json()) == tally
    assert failed([tally]) == len(FAILURES)
    text = report([tally], "machine", "command")
    assert "| retrain | 6 | 1 | 1 | 1 | 1 | 1 | 1 |" in text
    assert "an example of lost" in text
    assert "an example of detected" not in text


def test_edits_of_json_are_json() -> None:
    seed = b'{"a": [1, {"b": 2}]}'
    found = {edited(seed, bytes([0, place, value])) for place in range(5) for value in range(len(VALUES))}
    assert len(found) > 80


VALID = (
    *("csv", "libsvm", "run.yaml", "schema.json", "model.safetensors", "search.json", "metrics.json"),
    *("export.json", "record of scores", "scores.json", "failure.json", "REST requests", "gRPC requests"),
    *("traffic log", "labels csv", "labels parquet"),
)


@pytest.mark.parametrize("name", TARGETS)
def test_fuzz_targets_take_their_seeds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib3.PoolManager.request", None)  # restores what the target of KFP replaces
    target = TARGETS[name]
    (tmp_path / "own").mkdir()
    for number, seed in enumerate(target.prepare(tmp_path / "own")):
        try:
            target.parse(seed)
        except UserError:
            assert number or name not in VALID
