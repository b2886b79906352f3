"""Requests that are wrong in every way get an answer or a clean rejection, and the server lives on."""

import json
import math
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from served import DATATYPES, INFER, Served, request_of
from tritonclient.grpc import service_pb2

GOOD = request_of([dict.fromkeys(DATATYPES, ""), dict.fromkeys(DATATYPES, "")])


@pytest.fixture(autouse=True)
def lives_on(server: Served) -> Iterator[None]:
    yield
    assert server.infer(GOOD)["outputs"][0]["shape"] == [2]
    assert server.service.unanswered == 0


def changed(**of_age: Any) -> bytes:
    """The good request with another input `age`; None removes a key."""
    inputs = [dict(each) for each in GOOD["inputs"]]
    for each in inputs:
        if each["name"] == "age":
            each.update(of_age)
            for key in [key for key, value in of_age.items() if value is REMOVED]:
                del each[key]
    return json.dumps({"inputs": inputs}).encode()


REMOVED = object()
_without = {"inputs": [each for each in GOOD["inputs"] if each["name"] != "age"]}
BODIES: dict[str, tuple[bytes, int, str]] = {  # status, and what the message has
    "empty": (b"", 400, "not JSON"),
    "no JSON": (b"age=3&user=u1", 400, "not JSON"),
    "cut off": (json.dumps(GOOD).encode()[:-5], 400, "not JSON"),
    "two documents": (b"{}{}", 400, "not JSON"),
    "not UTF-8": (b'{"inputs": "\xff\xfe"}', 400, "not JSON"),
    "lone surrogate": (changed(datatype="BYTES", data=["a", "b"]).replace(b'"a"', b'"\\ud800"'), 400, "JSON"),
    "NUL bytes": (b"\0" * 1000, 400, "not JSON"),
    "NaN": (changed(data=[1.0, math.nan]), 400, "not JSON"),
    "Infinity": (changed(data=[1.0, math.inf]), 400, "not JSON"),
    "huge exponent": (changed(data=[1, 2]).replace(b"[1, 2]", b"[1, 1e999]"), 400, ""),
    "deep lists": (b"[" * 30_000, 400, "not JSON"),
    "deep objects": (b'{"a":' * 10_000, 400, "not JSON"),
    "deep data": (changed(data=[1, 2]).replace(b"[1, 2]", b"[" * 900 + b"]" * 900), 400, "'age'"),
    "a list": (b"[]", 400, "must be an object, not a list"),
    "null": (b"null", 400, "must be an object"),
    "a number": (b"1", 400, "must be an object"),
    "no inputs": (b"{}", 400, "'inputs' must be a list"),
    "inputs null": (b'{"inputs": null}', 400, "'inputs' must be a list"),
    "inputs object": (b'{"inputs": {"age": [1]}}', 400, "'inputs' must be a list, not an object"),
    "inputs empty": (b'{"inputs": []}', 400, "has no input 'user'"),
    "input text": (b'{"inputs": ["age"]}', 400, "must be objects"),
    "input null": (b'{"inputs": [null]}', 400, "must be objects"),
    "input lacking": (json.dumps(_without).encode(), 400, "has no input 'age'"),
    "input twice": (json.dumps({"inputs": GOOD["inputs"] * 2}).encode(), 400, "given twice"),
    "name lacking": (changed(name=REMOVED), 400, "'name' must be text"),
    "name number": (changed(name=7), 400, "'name' must be text"),
    "datatype lacking": (changed(datatype=REMOVED), 400, "'datatype' must be text"),
    "datatype unknown": (changed(datatype="FP16"), 400, "datatype must be one of"),
    "datatype list": (changed(datatype=["FP64"]), 400, "'datatype' must be text, not a list"),
    "shape lacking": (changed(shape=REMOVED), 400, "'shape' must be a list"),
    "shape number": (changed(shape=2), 400, "'shape' must be a list"),
    "shape empty": (changed(shape=[]), 400, "shape must be"),
    "shape wide": (changed(shape=[1, 2]), 400, "shape must be"),
    "shape cube": (changed(shape=[2, 1, 1]), 400, "shape must be"),
    "shape zero": (changed(shape=[0]), 400, "shape must be"),
    "shape negative": (changed(shape=[-1]), 400, "shape must be"),
    "shape text": (changed(shape=["2"]), 400, "shape must be"),
    "shape float": (changed(shape=[2.0]), 400, "shape must be"),
    "shape true": (changed(shape=[True]), 400, "shape must be"),
    "shape huge": (changed(shape=[2**62]), 413, "a request may have 500"),
    "shape beyond 64 bits": (changed(shape=[10**30]), 400, "shape must be"),
    "shape of other rows": (changed(shape=[1], data=[1]), 400, "has 1 rows, but input 'user' has 2"),
    "data lacking": (changed(data=REMOVED), 400, "input 'age': 'data' must be a list"),
    "data null": (changed(data=None), 400, "input 'age': 'data' must be a list"),
    "data text": (changed(data="1,2"), 400, "input 'age': 'data' must be a list"),
    "data short": (changed(data=[1]), 400, "has 1 values for 2 rows"),
    "data long": (changed(data=[1, 2, 3]), 400, "has 3 values for 2 rows"),
    "data of text": (changed(data=[1, "x"]), 400, "input 'age': row 1 is not FP64: 'x'"),
    "data of truth": (changed(data=[1, True]), 400, "row 1 is not FP64: True"),
    "data of lists": (changed(data=[1, [2]]), 400, "row 1 is not FP64: a list"),
    "data of objects": (changed(data=[{}, 2]), 400, "row 0 is not FP64: an object"),
    "data nested wrong": (
        changed(shape=[2, 1], data=[[1], [2, 3]]),
        400,
        "row 1 must be a list of one value",
    ),
    "data nested deeper": (
        changed(shape=[2, 1], data=[[1], [[2]]]),
        400,
        "row 1 must be a list of one value",
    ),
    "number as text": (changed(datatype="BYTES", data=["1", 2]), 400, "row 1 is not text: 2"),
    "fraction as integer": (changed(datatype="INT64", data=[1, 2.5]), 400, "row 1 is not INT64: 2.5"),
    "too big for INT8": (changed(datatype="INT8", data=[1, 300]), 400, "row 1 is not INT8: 300"),
    "negative for UINT32": (changed(datatype="UINT32", data=[1, -1]), 400, "row 1 is not UINT32: -1"),
    "no number in text": (changed(datatype="BYTES", data=["1", "one"]), 400, "row 1: age "),
    "many rows": (json.dumps(request_of([dict.fromkeys(DATATYPES, "")] * 501)).encode(), 413, "501 rows"),
    "outputs text": (
        json.dumps({**GOOD, "outputs": "probability"}).encode(),
        400,
        "'outputs' must be a list",
    ),
    "outputs unknown": (json.dumps({**GOOD, "outputs": [{"name": "x"}]}).encode(), 400, "not 'x'"),
    "outputs of text": (json.dumps({**GOOD, "outputs": ["malformed"]}).encode(), 400, "must be an object"),
    "id number": (json.dumps({**GOOD, "id": 5}).encode(), 400, "'id' must be text"),
    "id long": (json.dumps({**GOOD, "id": "x" * 201}).encode(), 400, "'id' must be text"),
    "parameters list": (json.dumps({**GOOD, "parameters": [1]}).encode(), 400, "'parameters' must be"),
    "binary size text": (changed(parameters={"binary_data_size": "9"}), 400, "binary_data_size is '9'"),
    "binary size negative": (changed(parameters={"binary_data_size": -9}), 400, "binary_data_size is -9"),
    "binary data lacking": (changed(parameters={"binary_data_size": 16}), 400, "0 bytes follow"),
    "large body": (b" " * 70_000, 413, "larger than 65,536 bytes"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_wrong_body_is_an_error_that_says_what_is_wrong(server: Served, name: str) -> None:
    body, expected, text = BODIES[name]
    status, headers, content = server.call(body=body)
    assert status == expected, content
    assert headers["content-type"] == "application/json"
    assert text in json.loads(content)["error"]
    assert len(content) < 1000


def test_there_are_enough_wrong_bodies() -> None:
    assert len(BODIES) >= 60


def binary(
    content: bytes, datatype: str = "FP64", rows: int = 2, size: int | None = None
) -> tuple[bytes, dict]:
    size = len(content) if size is None else size
    text = changed(data=REMOVED, datatype=datatype, parameters={"binary_data_size": size})
    return text + content, {"Inference-Header-Content-Length": str(len(text))}


@pytest.mark.parametrize(
    ("body", "headers", "text"),
    [
        (*binary(b"\0" * 15), "has 15 bytes"),
        (*binary(b"\0" * 15, size=16), "15 bytes follow"),
        (*binary(b"\xff\xff\xff\xff", "BYTES"), "cut off"),
        (*binary(struct.pack("<I", 1) + b"1", "BYTES"), "are not the 2 texts"),
        (*binary((struct.pack("<I", 1) + b"1") * 3, "BYTES"), "are not the 2 texts"),
        (*binary((struct.pack("<I", 1) + b"\xff") * 2, "BYTES"), "row 0 is not text in UTF-8"),
        (b"{}", {"Inference-Header-Content-Length": "3"}, "has only 2 bytes"),
        (b"{}", {"Inference-Header-Content-Length": "-1"}, "must be a number"),
        (b"{}", {"Inference-Header-Content-Length": "1e9"}, "must be a number"),
        (b"{}", {"Inference-Header-Content-Length": "9" * 400}, "must be a number"),
        (b"{}", {"Content-Encoding": "gzip"}, "not supported"),
    ],
)
def test_a_wrong_binary_form_is_an_error(server: Served, body: bytes, headers: dict, text: str) -> None:
    status, _, content = server.call(body=body, headers=headers)
    assert (status, text in content.decode()) == (400, True), content


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 404"),
        (b"GET /v2/models//infer HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 405"),
        (b"DELETE /v2/models/champion HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 405"),
        (b"GET /v2/models/%00%ff/ready HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 404"),
        (b"GET /v2/models/\xff HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 400"),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 404"),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 4"),
        (b"NONSENSE\r\n\r\n", b"HTTP/1.1 400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HTTP/1.1 400"),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 400"),
        (b"GET /v2 HTTP/9.9\r\n\r\n", b"HTTP/1.1 400"),
        (b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 400"),
        (b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 400"),
        (
            b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n",
            b"HTTP/1.1 413",
        ),
        (
            b"POST "
            + INFER.encode()
            + b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
            b"HTTP/1.1 400",
        ),
        (
            b"POST "
            + INFER.encode()
            + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 400",
        ),
        (b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 600_000, b"HTTP/1.1 431"),
        (b"GET /v2 HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100_000, b"HTTP/1.1 431"),
        (b"GET /" + b"a" * 600_000, b"HTTP/1.1 431"),
    ],
)
def test_a_wrong_message_is_rejected(server: Served, sent: bytes, expected: bytes) -> None:
    with server.open() as client:
        try:
            client.sendall(sent)
        except (BrokenPipeError, ConnectionResetError):  # rejected before all was sent
            return
        try:
            assert client.recv(100).startswith(expected)
        except ConnectionResetError:
            assert expected.endswith(b"431")


def rpc(server: Served, request: Any) -> grpc.RpcError:
    with grpc.insecure_channel(server.grpc) as channel:
        call: Callable[..., Any] = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=lambda sent: sent if isinstance(sent, bytes) else sent.SerializeToString(),
        )
        with pytest.raises(grpc.RpcError) as error:
            call(request, timeout=20)
    return error.value


def message(**of_age: Any) -> Any:
    request = service_pb2.ModelInferRequest(model_name="champion")
    for name, kind in DATATYPES.items():
        given = {"datatype": kind, "shape": [1], "raw": bytes(8 if kind == "FP64" else 4)}
        given |= of_age if name == "age" else {}
        request.inputs.add(name=name, datatype=given["datatype"], shape=given["shape"])
        request.raw_input_contents.append(given["raw"])
    return request


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (b"\xff" * 50, "INVALID_ARGUMENT", "Error parsing message"),
        (b"", "NOT_FOUND", "'champion'"),
        (service_pb2.ModelInferRequest(model_name="champion"), "INVALID_ARGUMENT", "has no input 'user'"),
        (service_pb2.ModelInferRequest(model_name="champion", model_version="9"), "NOT_FOUND", "'9'"),
        (message(datatype="FP16"), "INVALID_ARGUMENT", "datatype must be one of"),
        (message(shape=[2]), "INVALID_ARGUMENT", "has 2 rows, but input 'user' has 1"),
        (message(shape=[-1]), "INVALID_ARGUMENT", "shape must be"),
        (message(shape=[1, 1, 1]), "INVALID_ARGUMENT", "shape must be"),
        (message(shape=[2**62]), "RESOURCE_EXHAUSTED", "a request may have 500"),
        (message(raw=b"\0" * 7), "INVALID_ARGUMENT", "has 7 bytes"),
        (message(datatype="BYTES", raw=b"\xff" * 5), "INVALID_ARGUMENT", "cut off"),
        (message(datatype="BYTES", raw=b"\1\0\0\0\xff"), "INVALID_ARGUMENT", "row 0 is not text in UTF-8"),
        (message(datatype="BYTES", raw=b"\1\0\0\0x"), "INVALID_ARGUMENT", "row 0: age "),
        (message(raw=b"\0" * 100_000), "RESOURCE_EXHAUSTED", ""),
    ],
    ids=range(14),
)
def test_a_wrong_rpc_has_a_status(server: Served, request_: Any, code: str, text: str) -> None:
    error = rpc(server, request_)
    assert error.code().name == code, error
    assert text in error.details()


def test_contents_must_be_those_of_all_inputs(server: Served) -> None:
    request = message()
    del request.raw_input_contents[-1]
    assert "has 3 tensors for 4 inputs" in rpc(server, request).details()


def test_garbage_on_the_port_of_grpc_is_rejected(server: Served) -> None:
    host, _, port = server.grpc.partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(b"GET /v2 HTTP/1.1\r\n\r\n" * 100)
        try:
            while client.recv(1000):
                pass
        except ConnectionResetError:
            pass
