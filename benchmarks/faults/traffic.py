"""Requests to a server that logs them, and their labels."""

import csv
import http.client
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from program import Program, kill_group

LOG, LABELS = "log", "labels.csv"
ROWS, OF_REQUEST = 300, 5
SECONDS = 30.0  # a server ends in fewer


class Request(NamedTuple):
    """Raw rows under an id."""

    id: str
    rows: Sequence[dict[str, str]]

    @property
    def body(self) -> bytes:
        """It in the protocol."""
        names = [name for name in self.rows[0] if name.startswith("field")]
        inputs = [
            {"name": n, "datatype": "BYTES", "shape": [len(self.rows)], "data": [row[n] for row in self.rows]}
            for n in names
        ]
        return json.dumps({"id": self.id, "inputs": inputs}).encode()


def sample(folder: Path, name: str = "r") -> list[Request]:
    """Requests with the first rows of the data."""
    with (folder / "clicks.csv").open() as file:
        rows = list(islice(csv.DictReader(file), ROWS))
    starts = range(0, len(rows), OF_REQUEST)
    return [Request(f"{name}{start}", rows[start : start + OF_REQUEST]) for start in starts]


def label(file: Path, requests: Iterable[Request]) -> None:
    """Write the labels of the rows."""
    with file.open("w") as to:
        to.write("request_id,row,click\n")
        for request in requests:
            to.writelines(f"{request.id},{at},{row['click']}\n" for at, row in enumerate(request.rows))


def send(port: int, request: Request) -> list[float]:
    """The probabilities of the rows."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("POST", "/v2/models/champion/infer", request.body)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    found: list[float] = answer["outputs"][0]["data"]
    return found


def start(folder: Path, log: Path) -> tuple[subprocess.Popen[str], int]:
    """A server that logs every request at once, and its port."""
    bundle = str(folder / "reference" / "retrain" / "bundle")
    options = ["--port=0", "--grpc-port=-1", "--drain=0", "--log-share=1", "--log-seconds=0.1"]
    running = Program(sys.executable).start(  # signals do not reach a fork
        ["serve", "--bundle", bundle, "--log-to", str(log), *options],
        folder,
    )
    assert running.stderr
    said = ""
    for line in running.stderr:
        said += line
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
            return running, int(found[1])
    raise SystemExit(f"the server does not start: {said}")


@contextmanager
def served(folder: Path, log: Path) -> Iterator[int]:
    """The port of a server, which a signal stops at the end."""
    running, port = start(folder, log)
    try:
        yield port
        running.send_signal(signal.SIGTERM)
        status = running.wait(SECONDS)
        assert status == 128 + signal.SIGTERM, f"the server ends with {status}"
    finally:
        kill_group(running.pid)
        running.communicate()
