"""Limits of the server: slow, half-closed and many clients, and too much work at once."""

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from served import DATATYPES, INFER, LITTLE, Served, request_of, served
from tritonclient.grpc import service_pb2

from ctrloom.serving.predictor import Predictor, Scored
from ctrloom.serving.server.options import Limits

EMPTY = dict.fromkeys(DATATYPES, "")
GOOD = json.dumps(request_of([EMPTY])).encode()
HEAD = f"POST {INFER} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode()


@pytest.fixture(autouse=True)
def lives_on(server: Served) -> Iterator[None]:
    yield
    assert server.infer(json.loads(GOOD))
    deadline = time.monotonic() + 5  # connections that clients left
    while server.service.unanswered and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.service.unanswered == 0


def read(client: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    found = b""
    try:
        while part := client.recv(100_000):
            found += part
    except ConnectionResetError:
        pass
    return found


def send_on(client: socket.socket, data: bytes, pause: float) -> None:
    """Send the same again and again, until the server has had enough or 18 seconds are over."""
    began = time.monotonic()
    while time.monotonic() - began < 18:
        client.sendall(data)
        time.sleep(pause)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET /v2 HTTP/1.1\r\nHost: ", b"HTTP/1.1 408"),
        (HEAD, b"HTTP/1.1 408"),
        (HEAD + GOOD[:50], b"HTTP/1.1 408"),
        (HEAD.replace(b"POST", b"GET"), b"HTTP/1.1 405"),
        (
            f"POST {INFER} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n".encode(),
            b"HTTP/1.1 408",
        ),
    ],
)
def test_a_client_that_stops_is_cut_off(server: Served, sent: bytes, answer: bytes) -> None:
    with server.open() as client:
        began = time.monotonic()
        client.sendall(sent)
        found = read(client)
        assert found.startswith(answer)
        assert bool(found) == bool(answer)
        assert time.monotonic() - began < 10
    assert server.metric('ctrloom_requests_total{protocol="http",status="500"}') == 0


@pytest.mark.parametrize("drop", [b"x", b"\r\n"])
def test_a_client_that_drips_is_cut_off(server: Served, drop: bytes) -> None:
    with server.open() as client:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_on(client, drop, 0.02)


def test_an_idle_connection_is_closed(server: Served) -> None:
    with server.open() as client:
        client.sendall(HEAD + GOOD)
        assert client.recv(100_000).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        assert read(client) == b""
        assert time.monotonic() - began > 0.8 * LITTLE.idle_seconds


def test_a_half_closed_client_gets_its_answer(server: Served) -> None:
    with server.open() as client:
        client.sendall(HEAD + GOOD)
        client.shutdown(socket.SHUT_WR)
        found = read(client)
    assert found.startswith(b"HTTP/1.1 200")
    assert b"probability" in found


def test_a_half_closed_request_is_dropped(server: Served) -> None:
    with server.open() as client:
        client.sendall(HEAD + GOOD[:50])
        client.shutdown(socket.SHUT_WR)
        assert b"200" not in read(client)


@pytest.mark.parametrize("part", [0, 10, len(HEAD), len(HEAD) + 50, len(HEAD + GOOD)])
def test_a_client_may_vanish(server: Served, part: int) -> None:
    for _ in range(20):
        with server.open() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset
            client.sendall((HEAD + GOOD)[:part])


def test_pipelined_requests_are_answered_in_order(server: Served) -> None:
    first, second = (json.dumps({**json.loads(GOOD), "id": name}).encode() for name in ("first-1", "second"))
    head = f"POST {INFER} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(first)}\r\n".encode()
    last = head.replace(str(len(first)).encode(), str(len(second)).encode()) + b"Connection: close\r\n\r\n"
    with server.open() as client:
        client.sendall(head + b"\r\n" + first + last + second)
        found = read(client)
    assert 0 < found.index(b"first-1") < found.index(b"second")


def test_a_client_that_never_reads_is_cut_off(server: Served) -> None:
    request = request_of([EMPTY] * 500, outputs=[{"name": "malformed"}])
    next(each for each in request["inputs"] if each["name"] == "age").update(
        datatype="BYTES", data=["x" * 90] * 500
    )
    body = json.dumps(request, separators=(",", ":")).encode()
    whole = HEAD.replace(str(len(GOOD)).encode(), str(len(body)).encode()) + body
    with server.open() as client:
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_on(client, whole, 0)


class Held(Predictor):
    """A predictor that waits."""

    released: threading.Event

    def score_columns(self, columns: Any) -> Scored:
        self.released.wait(20)
        return super().score_columns(columns)


@pytest.fixture
def busy(bundle: Path) -> Iterator[tuple[Served, threading.Event]]:
    """A server for two requests at once, whose model waits."""
    limits = replace(LITTLE, concurrency=2, body_bytes=1 << 20)
    with served(bundle, limits) as running:
        released = threading.Event()
        model = running.service.models.current
        held = Held.load(bundle)
        object.__setattr__(held, "released", released)
        running.service.models.exchange(replace(model, predictor=held))
        try:
            yield running, released
        finally:
            released.set()


def test_too_many_requests_at_once_are_asked_to_come_again(busy: tuple[Served, threading.Event]) -> None:
    running, released = busy
    large = json.dumps({**request_of([EMPTY]), "unused": "x" * 100_000}).encode()  # scored by the pool
    with ThreadPoolExecutor(2) as clients:
        two = [clients.submit(running.call, body=large) for _ in range(2)]
        deadline = time.monotonic() + 10
        while running.service.unanswered < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        status, headers, content = running.call(body=large)
        assert (status, headers["retry-after"]) == (503, "1")
        assert "more than 2 requests" in json.loads(content)["error"]
        assert running.call("/v2/health/live")[0] == 200
        assert running.call("/v2/health/ready")[0] == 200
        released.set()
        assert [each.result()[0] for each in two] == [200, 200]
    assert running.call(body=large)[0] == 200
    assert running.metric('ctrloom_requests_total{protocol="http",status="503"}') == 1
    assert running.metric('ctrloom_requests_total{protocol="http",status="200"}') == 3


def test_too_many_rpcs_at_once_are_rejected(busy: tuple[Served, threading.Event]) -> None:
    running, released = busy
    request = service_pb2.ModelInferRequest(model_name="champion")
    for name in DATATYPES:
        request.inputs.add(name=name, datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"")
    request.parameters["unused"].string_param = "x" * 100_000
    with grpc.insecure_channel(running.grpc) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            service_pb2.ModelInferRequest.SerializeToString,
            service_pb2.ModelInferResponse.FromString,
        )
        several = [call.future(request) for _ in range(6)]
        until_done = time.monotonic() + 10
        while not any(each.done() for each in several) and time.monotonic() < until_done:
            time.sleep(0.01)
        released.set()
        rejected = [each for each in several if each.exception(timeout=20)]
    assert {each.code().name for each in rejected} == {"RESOURCE_EXHAUSTED"}
    assert 1 <= len(rejected) <= 4


def test_too_many_connections_are_asked_to_come_again(bundle: Path) -> None:
    with served(bundle, replace(LITTLE, connections=3, header_seconds=20)) as running:
        several = [running.open() for _ in range(3)]
        status, headers, content = running.call(body=GOOD)
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert "too many connections" in json.loads(content)["error"]
        several.pop().close()
        deadline = time.monotonic() + 10
        while running.call(body=GOOD)[0] != 200:
            assert time.monotonic() < deadline
        for each in several:
            each.close()


@pytest.mark.slow
def test_two_thousand_connections(bundle: Path) -> None:
    limits = Limits(connections=1_500, concurrency=2_000)
    with served(bundle, limits) as running:
        clients = [running.open() for _ in range(2_000)]
        for client in clients:
            client.sendall(HEAD + GOOD)
        found = [client.recv(100_000)[:12] for client in clients]
        assert found.count(b"HTTP/1.1 200") == 1_500
        assert found.count(b"HTTP/1.1 503") == 500
        for client in clients:
            client.close()
        deadline = time.monotonic() + 20
        while running.call(body=GOOD)[0] != 200:
            assert time.monotonic() < deadline
