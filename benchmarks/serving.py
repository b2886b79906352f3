"""Latency and capacity of `ctrloom serve`, and of the same model behind MLServer.

    python benchmarks/serving.py [--mlserver PYTHON] [--seconds 5] [--models fm deepfm ipnn optinter]

PYTHON is the interpreter of a virtual environment with MLServer and what ctrloom needs to score (`pip install
mlserver '.[serve]'`); without it only ctrloom is measured. Both servers run at the same time, each with one
process and one thread per operation, and are measured in turns; they must give the same probabilities.
Bundles over random clicks with 39 fields and initial weights are made in `--work` once. Run it on an idle
machine; one of its cores is the client's.
"""

import argparse
import csv
import datetime
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from urllib.request import Request, urlopen

import fast  # noqa: F401
import numpy as np
import serving_bundles
import serving_load
import uvloop
from machine import describe

CANDIDATES = (1, 100, 1000)
PATH = "/v2/models/champion/infer"
LIMIT = 10.0  # milliseconds of p99, for the capacity
FIRST_RATE, STEP, TRIES, CONNECTIONS = 50.0, 1.25, 3, 64
TURNS = 5
HERE = Path(__file__).parent


def requests_of(file: Path, candidates: int, count: int = 50) -> list[bytes]:
    """Whole HTTP requests with different rows."""
    with file.open() as opened:
        rows = [row for row, _ in zip(csv.DictReader(opened), range(5_000), strict=False)]
    names = [name for name in rows[0] if name != "click"]
    made = []
    for number in range(max(1, min(count, len(rows) // candidates))):
        its = [rows[(number * candidates + n) % len(rows)] for n in range(candidates)]
        inputs = [
            {"name": n, "datatype": "BYTES", "shape": [candidates], "data": [row[n] for row in its]}
            for n in names
        ]
        body = json.dumps({"inputs": inputs}, separators=(",", ":")).encode()
        made.append(serving_load.request_bytes(PATH, body))
    return made


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def started(command: list[str], port: int, environment: dict[str, str], log: Path) -> Iterator[int]:
    """Run a server until the block ends; yields its port when it is ready."""
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as client:
                    client.sendall(b"GET /v2/models/champion/ready HTTP/1.1\r\nHost: a\r\n\r\n")
                    if b" 200 " in client.recv(100):
                        break
            except OSError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def ctrloom_server(bundle: Path, folder: Path) -> tuple[list[str], int]:
    """The command of our server, and its port."""
    port = free_port()
    command = [sys.executable, "-m", "ctrloom", "serve", "--bundle", str(bundle), "--drain", "0"]
    return [*command, "--port", str(port), "--grpc-port", "-1"], port


def mlserver_server(python: Path, bundle: Path, folder: Path) -> tuple[list[str], int]:
    """The command of MLServer with the runtime of `serving_mlserver.py`, in its own process."""
    port = free_port()
    settings = {
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
    }
    model = {
        "name": "champion",
        "implementation": "serving_mlserver.Runtime",
        "parameters": {"uri": str(bundle)},
    }
    shutil.copy(HERE / "serving_mlserver.py", folder)
    (folder / "settings.json").write_text(json.dumps({**settings, "debug": False}))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return [str(python.parent / "mlserver"), "start", str(folder)], port


def probabilities(port: int, request: bytes) -> np.ndarray:
    """The answer to a request: float32, which servers write with more digits or fewer."""
    body, kind = request.partition(b"\r\n\r\n")[2], {"Content-Type": "application/json"}
    with urlopen(Request(f"http://127.0.0.1:{port}{PATH}", body, kind), timeout=30) as answer:
        return np.array(json.load(answer)["outputs"][0]["data"], np.float32)


def capacity(port: int, requests: list[bytes], seconds: float) -> float:
    """The highest rate of requests, in steps of a quarter, whose p99 is below `LIMIT`; 0 if there is none.

    A rate has three tries: among few requests, one pause of the machine is their p99.
    """

    def holds(rate: float) -> bool:
        found = uvloop.run(serving_load.at_rate(port, requests, rate, seconds, CONNECTIONS))
        return not found.failed and found.quantile(0.99) <= LIMIT

    best, rate = 0.0, FIRST_RATE
    while any(holds(rate) for _ in range(TRIES)):
        best, rate = rate, rate * STEP
    return best


def measured(name: str, servers: dict[str, int], clicks: Path, seconds: float) -> list[str]:
    """Lines of the table for one model."""
    lines = []
    for candidates in CANDIDATES:
        requests = requests_of(clicks, candidates)
        if len({probabilities(port, requests[0]).tobytes() for port in servers.values()}) > 1:
            raise SystemExit(f"{name}: the servers do not give the same probabilities")
        count = max(30, int(seconds * {1: 400, 100: 150, 1000: 25}[candidates]))
        found: dict[str, list[tuple[float, float]]] = {server: [] for server in servers}
        for turn in range(TURNS + 1):
            for server, port in servers.items():
                took = uvloop.run(serving_load.one_by_one(port, requests, count // TURNS))
                if took.failed:
                    raise SystemExit(f"{server}: {took.failed} requests failed")
                if turn:  # the first turn warms up
                    found[server].append((took.quantile(0.5), took.quantile(0.99)))
        for server, port in servers.items():
            p50, p99 = (statistics.median(each) for each in zip(*found[server], strict=True))
            rate = capacity(port, requests, seconds)
            lines.append(f"| {name} | {candidates:,} | {server} | {p50:.2f} | {p99:.2f} | {rate:,.0f} |")
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mlserver", type=Path, metavar="PYTHON")
    parser.add_argument("--models", nargs="+", default=serving_bundles.MODELS)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "ctrloom-serving")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    bundles = serving_bundles.all_bundles(arguments.work, arguments.models)
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **threads, "PYTHONPATH": str(HERE.parent / "src")}
    lines = []
    for name, bundle in bundles.items():
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            commands = {"ctrloom": ctrloom_server(bundle, folder)}
            if arguments.mlserver:
                commands["MLServer"] = mlserver_server(arguments.mlserver.absolute(), bundle, folder)
            servers = {
                server: stack.enter_context(started(command, port, environment, folder / f"{server}.log"))
                for server, (command, port) in commands.items()
            }
            lines += measured(name, servers, arguments.work / "clicks.csv", arguments.seconds)
    date = datetime.date.today().isoformat()
    packages = ["torch", "uvicorn", "uvloop", "orjson"]
    page = [
        "# Serving",
        "",
        f"`python benchmarks/serving.py --seconds {arguments.seconds:g}`, {date}. {describe(*packages)}"
        + (f"; {peer_version(arguments.mlserver)}" if arguments.mlserver else "")
        + ".",
        "",
        "39 fields (26 of tokens, 13 of numbers), embedding size 16, perceptrons 400 x 3; JSON over HTTP, "
        f"loopback. Milliseconds of one client that waits for each answer: medians of p50 and p99 of {TURNS} "
        "turns. Requests per second: the highest rate of random arrivals, in steps of a quarter, with p99 "
        f"below {LIMIT:g} ms in one of {TRIES} tries. The client has one of the cores. ctrloom "
        f"{version('ctrloom')}, one process.",
        "",
        "| model | candidates | server | p50 ms | p99 ms | requests/s |",
        "|---|--:|---|--:|--:|--:|",
        *lines,
        "",
    ]
    target = arguments.output / f"serving-{date}.md"
    target.write_text("\n".join(page))
    print(target)


def peer_version(python: Path) -> str:
    """The version of MLServer in its environment."""
    code = "from importlib.metadata import version; print('MLServer', version('mlserver'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
