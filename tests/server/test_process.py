"""`ctrloom serve` as a process: how it starts, stops and fails."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from processes import family, left_after
from served import DATATYPES, INFER, request_of

BODY = json.dumps(request_of([dict.fromkeys(DATATYPES, "")])).encode()


class Process:
    """A server process, whose HTTP port is read from its output."""

    def __init__(self, python: str, arguments: list[str], environment: dict[str, str]) -> None:
        command = [python, "-m", "ctrloom", "serve", "--port=0", "--grpc-port=0", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.said = ""
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", self.said)):
            line = self.process.stderr.readline()
            assert line, self.said
            self.said += line
        self.port = int(found[1])

    def get(self, path: str) -> int:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        return status


@contextmanager
def running(python: str, *arguments: str) -> Iterator[Process]:
    environment = family()
    process = Process(python, list(arguments), environment)
    try:
        yield process
    finally:
        process.process.kill()
        process.said += process.process.communicate()[1]
        assert not left_after(environment)


def test_a_signal_drains(bundle: Path) -> None:
    """After a signal the server is not ready but answers; a request that has begun is finished."""
    with running(sys.executable, "--bundle", str(bundle), "--drain=1") as server:
        assert server.get("/v2/health/ready") == 200
        begun = HTTPConnection("127.0.0.1", server.port, timeout=20)
        begun.putrequest("POST", INFER)
        begun.putheader("Content-Length", str(len(BODY)))
        begun.endheaders(BODY[:50])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 5
        while server.get("/v2/health/ready") != 503:
            assert time.monotonic() < deadline
        assert server.get("/v2/health/live") == 200
        other = HTTPConnection("127.0.0.1", server.port, timeout=20)
        other.request("POST", INFER, BODY)
        assert other.getresponse().status == 200
        time.sleep(1.5)  # the ports are closed now
        with pytest.raises(ConnectionRefusedError):
            server.get("/v2/health/live")
        begun.send(BODY[50:])
        response = begun.getresponse()
        assert response.status == 200
        assert response.getheader("connection") == "close"
        assert json.loads(response.read())["model_name"] == "champion"
        begun.close()
        other.close()
        assert server.process.wait(10) == 128 + signal.SIGTERM
    assert "stopped by SIGTERM; requests in flight were answered" in server.said
    assert "Traceback" not in server.said


def failed(python: str, *arguments: str) -> str:
    command = [python, "-m", "ctrloom", "serve", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_faults_at_the_start_are_one_line(python: str, bundle: Path, tmp_path: Path) -> None:
    assert "give either --bundle or --registry" in failed(python)
    assert f"{tmp_path}" in failed(python, "--bundle", str(tmp_path))
    with running(python, "--bundle", str(bundle), "--drain=0") as server:
        assert "in use" in failed(python, "--bundle", str(bundle), f"--port={server.port}")
