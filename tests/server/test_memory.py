"""Memory of the server does not grow with the number of requests."""

import json
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
from served import INFER, lines, request_of
from test_process import running

REQUESTS, WARM_UP = 100_000, 10_000
MOST_GROWTH = 8 << 20  # bytes; of an allocator's fragments


def resident(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


@pytest.mark.slow
def test_a_hundred_thousand_requests_need_no_more_memory(bundle: Path, mixed_folder: Path) -> None:
    rows = lines(mixed_folder)
    bodies = [json.dumps(request_of(rows[n : n + 1 + n % 7])) for n in range(250)]
    bad = json.dumps({**request_of(rows[:1]), "outputs": [{"name": "x"}]})
    with running(sys.executable, "--bundle", str(bundle), "--drain=0") as server:
        connection, before = HTTPConnection("127.0.0.1", server.port, timeout=20), 0
        for number in range(REQUESTS):
            wrong = number % 50 == 7
            connection.request("POST", INFER, bad if wrong else bodies[number % len(bodies)])
            response = connection.getresponse()
            response.read()
            assert response.status == (400 if wrong else 200)
            if number % 997 == 0:  # and other connections
                connection.close()
            if number == WARM_UP:
                before = resident(server.process.pid)
        connection.close()
        grown = resident(server.process.pid) - before
    assert grown < MOST_GROWTH
