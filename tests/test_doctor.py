"""Preflight checks, each against a prepared environment."""

import http.server
import json
import os
import shutil
import threading
from importlib.metadata import version
from typing import ClassVar

import pytest
import yaml
from typer.testing import CliRunner

from ctrloom import doctor
from ctrloom.cli import app
from ctrloom.config.version import code_version
from ctrloom.runners import compiled

RELEASE = version("ctrloom")


class Answering(http.server.BaseHTTPRequestHandler):
    answer: tuple[int, bytes] = (200, b"{}")
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self):
        self.asked.append((self.path, self.headers.get("Authorization")))
        self.send_response(self.answer[0])
        self.end_headers()
        self.wfile.write(self.answer[1])

    def log_message(self, *_):
        pass


@pytest.fixture
def kfp():
    Answering.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "state", "said"),
    [
        ((200, b'{"multi_user": false}'), "ok", "does not report its version"),
        ((200, b'{"tag_name": "2.17.0"}'), "ok", "is KFP 2.17.0"),
        ((200, b'{"apiServerTagName": "v2.4.1"}'), "ok", "is KFP v2.4.1"),
        ((200, b'{"tag_name": "1.8.5"}'), "fail", "is KFP 1.8.5"),
        ((200, b"<html>"), "fail", "is not KFP"),
        ((401, b""), "fail", "401"),
        ((403, b""), "fail", "403"),
        ((500, b""), "fail", "500"),
    ],
)
def test_endpoint_check_depends_on_the_answer(kfp, monkeypatch, answer, state, said):
    monkeypatch.setattr(Answering, "answer", answer)
    check = doctor.endpoint(kfp + "/", "letmein")
    assert (check.state, said in check.found) == (state, True)
    assert bool(check.fix) == (state == "fail")
    assert "letmein" not in check.found + check.fix
    assert Answering.asked == [("/apis/v2beta1/healthz", "Bearer letmein")]


def test_unreachable_endpoint(kfp):
    check = doctor.endpoint("http://127.0.0.1:1", timeout=2)
    assert check.state == "fail"
    assert "port-forward" in check.fix


def test_store_is_written_and_left_as_it_was(tmp_path):
    check = doctor.store(str(tmp_path / "store"))
    assert check.state == "ok", check
    assert [path.name for path in (tmp_path / "store").iterdir() if path.suffix != ".lock"] == []


def test_unwritable_store(tmp_path):
    (tmp_path / "file").write_text("")
    check = doctor.store(str(tmp_path / "file" / "store"))
    assert check.state == "fail"
    assert str(tmp_path / "file") in check.found
    assert doctor.store("ftp://bucket/x").state == "fail"


@pytest.mark.parametrize(
    ("built", "started", "state"),
    [
        (None, None, "ok"),
        (f"{RELEASE}+abc", None, "ok"),
        (f"{RELEASE}+abc", f"{RELEASE}+abc", "ok"),
        (f"{RELEASE}+abc", f"{RELEASE}+def", "warn"),
        (f"{RELEASE}+abc", "99.0", "fail"),
        ("99.0+abc", None, "fail"),
        (None, "99.0", "fail"),
    ],
)
def test_image_and_package_agree(monkeypatch, built, started, state):
    if built:
        monkeypatch.setenv("CTRLOOM_VERSION", built)
    else:
        monkeypatch.delenv("CTRLOOM_VERSION", raising=False)
    check = doctor.image(started)
    assert check.state == state, check
    assert bool(check.fix) == (state != "ok")


def test_the_commit_of_an_image_is_recorded(monkeypatch):
    monkeypatch.setattr("ctrloom.config.version._git", lambda *_: "")
    for built, recorded in ((f"{RELEASE}+abc", f"{RELEASE}+abc"), ("99.0+abc", RELEASE), ("", RELEASE)):
        monkeypatch.setenv("CTRLOOM_VERSION", built)
        assert code_version.__wrapped__() == recorded


def test_packages_against_constraints(tmp_path):
    assert doctor.packages().state == "ok"
    pins = tmp_path / "constraints.txt"
    pins.write_text(f"# tested\nnumpy=={version('numpy')}\nnot-installed-anywhere==1\n")
    assert doctor.packages(pins).state == "ok"
    pins.write_text("numpy==0.1\n")
    check = doctor.packages(pins)
    assert (check.state, f"numpy {version('numpy')}, tested with ==0.1" in check.found) == ("warn", True)
    pins.write_text("numpy=1\n")
    with pytest.raises(ValueError, match=r"constraints\.txt: cannot be read"):
        doctor.packages(pins)


def test_a_missing_or_wrong_package_fails(monkeypatch):
    monkeypatch.setattr("ctrloom.doctor.software.metadata.requires", lambda _: ["numpy<1", "no-such-thing>2"])
    check = doctor.packages()
    assert check.state == "fail"
    assert "numpy" in check.found
    assert "no-such-thing is missing" in check.found


def test_missing_gpu_fails_only_if_required(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("ctrloom.doctor.machine._driver", lambda: None)
    assert doctor.gpu().state == "ok"
    assert (doctor.gpu(required=True).state, doctor.gpu(required=True).found) == ("fail", "no GPU")
    monkeypatch.setattr("ctrloom.doctor.machine._driver", lambda: "580.1")
    for cuda, said in ((None, "is a CPU build"), ("13.0", "sees no GPU")):
        monkeypatch.setattr("torch.version.cuda", cuda)
        assert [doctor.gpu(required).state for required in (False, True)] == ["warn", "fail"]
        assert said in doctor.gpu().found


def test_disk_of_a_folder_that_does_not_exist_yet(tmp_path):
    free = shutil.disk_usage(tmp_path).free / 1e9
    assert doctor.disk(tmp_path / "a" / "b", least=free / 2).state == "ok"
    assert doctor.disk(tmp_path / "a" / "b", least=free * 2).state == "fail"


@pytest.fixture
def bare(monkeypatch):
    for name in [name for name in os.environ if name.startswith("CTRLOOM_")]:
        monkeypatch.delenv(name)


def test_exit_status_reports_failed_checks(tmp_path, kfp, monkeypatch, bare):
    monkeypatch.setattr(Answering, "answer", (200, b'{"tag_name": "2.17.0"}'))
    arguments = ["doctor", "--store", str(tmp_path), "--endpoint", kfp, "--free", "0"]
    good = CliRunner().invoke(app, [*arguments, "--json"])
    assert good.exit_code == 0, good.output
    said = json.loads(good.stdout)
    assert said["ok"]
    assert [check["name"] for check in said["checks"]] == [
        "packages", "image", "gpu", "disk", "storage", "endpoint",
    ]  # fmt: skip
    monkeypatch.setattr(Answering, "answer", (403, b""))
    bad = CliRunner().invoke(app, arguments)
    assert bad.exit_code == 1
    assert "fail" in bad.stdout
    assert "role" in bad.stdout


def test_component_fails_before_expensive_steps(tmp_path):
    from components.doctor.component import doctor as step

    class Findings:
        path = str(tmp_path / "findings.md")

    step.python_func(Findings, store=str(tmp_path), version=RELEASE, free=0)
    assert "| ok | storage |" in (tmp_path / "findings.md").read_text()
    with pytest.raises(ValueError, match="image: started by ctrloom 99"):
        step.python_func(Findings, store=str(tmp_path), version="99.0", free=0)


@pytest.mark.parametrize("name", compiled.names())
def test_only_cluster_runs_begin_with_the_check(name):
    spec, _ = compiled.read(name)
    tasks = spec["root"]["dag"]["tasks"]
    first = {task for task, its in tasks.items() if not its.get("dependentTasks")}
    assert first == {"doctor"}
    assert tasks["doctor"]["inputs"]["parameters"]["version"]["runtimeValue"]["constant"] == RELEASE
    here = yaml.safe_load(compiled.for_one_machine(name))
    assert "doctor" not in str([list(task["dependentTasks"]) for task in compiled.tasks(here)])
    assert set(here["root"]["dag"]["tasks"]) == set(tasks) - {"doctor"}
