"""A tracker that fails is one line of warning, soon, and without secrets."""

import base64
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from finished_run import Finished
from mlflow_server import Server, free_port

pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")

from ctrloom.config.tracking import TrackingConfig
from ctrloom.tracking import Places, track, tracked

PASSWORD = "canary-Pa55word"
SOON = 120  # seconds, most of them to load libraries on a busy machine


def warning_of(
    finished: Finished, capsys: pytest.CaptureFixture[str], seconds: float = SOON, **settings: Any
) -> str:
    """The only line that a failed tracking prints."""
    config = TrackingConfig.parse({**settings, "seconds": seconds}, "test")
    began = time.monotonic()
    capsys.readouterr()
    assert not track(config, "x", Places.of(finished.folder), "; again")
    assert time.monotonic() - began < seconds + 5
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("- warning: tracking: ")
    assert line.endswith("; again")
    return line


@contextmanager
def http(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server that answers every request so; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = lambda self: answer(self)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def status(code: int, body: bytes = b"") -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_a_server_that_is_down(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    line = warning_of(finished, capsys, mlflow={"uri": f"http://127.0.0.1:{free_port()}"})
    assert "MLflow: " in line
    assert "refused" in line


def test_a_server_that_never_answers(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        line = warning_of(finished, capsys, seconds=6, mlflow={"uri": uri})
    assert "stopped after 6 seconds (tracking.seconds)" in line


@pytest.mark.parametrize(("code", "body"), [(401, b"no"), (403, b"no"), (200, b"<html>hello</html>")])
def test_a_server_that_refuses_or_is_another(
    finished: Finished, capsys: pytest.CaptureFixture[str], code: int, body: bytes
) -> None:
    with http(status(code, body)) as uri:
        line = warning_of(finished, capsys, mlflow={"uri": uri})
    assert "MLflow: " in line
    assert len(line) < 900


def test_a_password_is_used_and_never_shown(
    server: Server, finished: Finished, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTRLOOM_URL_SECRETS", "")
    given: list[str | None] = []

    def forward(handler: BaseHTTPRequestHandler) -> None:
        given.append(handler.headers["Authorization"])
        body = handler.rfile.read(int(handler.headers["Content-Length"] or 0))
        address = f"{server.url}{handler.path}"
        headers = {"Content-Type": handler.headers["Content-Type"] or "application/json"}
        request = urllib.request.Request(address, body or None, headers, method=handler.command)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                status(response.status, response.read())(handler)
        except urllib.error.HTTPError as error:
            status(error.code, error.read())(handler)

    with http(forward) as uri:
        secret = uri.replace("://", f"://me:{PASSWORD}@")
        parsed = TrackingConfig.parse(
            {"mlflow": {"uri": secret, "experiment": "guarded"}, "seconds": 300}, "t"
        )
        assert PASSWORD not in parsed.model_dump_json()
        assert track(parsed, "x", Places.of(finished.folder))
    assert PASSWORD not in capsys.readouterr().err
    expected = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert set(given) == {expected}
    runs = server.runs("guarded")
    assert PASSWORD not in str(runs)
    line = warning_of(finished, capsys, mlflow={"uri": secret})  # it is down now
    assert PASSWORD not in line


def test_a_deleted_experiment(server: Server, finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    made = server.ask("/experiments/create", {"name": "gone"})["experiment_id"]
    server.ask("/experiments/delete", {"experiment_id": made})
    line = warning_of(finished, capsys, mlflow={"uri": server.url, "experiment": "gone"})
    assert "gone was deleted; restore it, or use another name" in line


def test_no_address_at_all(
    finished: Finished, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "set the address of the server" in warning_of(finished, capsys, mlflow={})


def test_a_full_or_foreign_place_of_event_files(
    finished: Finished, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("x")
    line = warning_of(finished, capsys, tensorboard=str(tmp_path / "file"))
    assert "TensorBoard: " in line
    assert warning_of(finished, capsys, tensorboard="/proc/nowhere")


def test_one_tracker_that_fails_does_not_stop_the_other(
    server: Server, finished: Finished, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("x")
    warning_of(
        finished,
        capsys,
        seconds=300,
        tensorboard=str(tmp_path / "file"),
        mlflow={"uri": server.url, "experiment": "alone", "bundle": False},
    )
    assert "fm/seed-0" in server.runs("alone")


def test_nothing_is_tracked_unless_it_is_configured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctrloom.tracking.track", lambda *args, **kwargs: pytest.fail("called"))
    for config in (None, TrackingConfig()):
        with tracked(config, "x", tmp_path):
            pass
    on = TrackingConfig(tensorboard=str(tmp_path))
    with pytest.raises(RuntimeError, match="stopped"), tracked(on, "x", tmp_path):
        raise RuntimeError("stopped")
    assert capsys.readouterr().err == ""


def test_a_tracker_that_is_not_installed_is_reported_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctrloom.tracking.find_spec", lambda name: None)
    monkeypatch.setattr("ctrloom.tracking.track", lambda *args, **kwargs: True)
    with tracked(TrackingConfig.parse({"mlflow": {}}, "test"), "x", tmp_path):
        (line,) = capsys.readouterr().err.splitlines()
    assert "mlflow is not installed" in line
    assert "pip install '.[mlflow]'" in line
