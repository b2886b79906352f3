"""The Open Inference Protocol, spoken by Triton's clients and by hand."""

import json
from pathlib import Path

import grpc
import numpy as np
import pyarrow.parquet as pq
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from served import DATATYPES, INFER, Served, lines, request_of, version_of
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from ctrloom import load_bundle
from ctrloom.serving.predict import predict
from ctrloom.serving.server import messages, question


@pytest.fixture(scope="module")
def rows(mixed_folder: Path) -> list[dict[str, str]]:
    return lines(mixed_folder)


@pytest.fixture(scope="module")
def expected(bundle: Path, mixed_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """What the command `predict` writes for the file of the rows."""
    output = tmp_path_factory.mktemp("predicted") / "p.parquet"
    predict(bundle, [str(mixed_folder / "test.csv")], output)
    found = pq.read_table(output)["probability"].to_numpy()
    assert len(set(found)) > 100
    return found


def arrays(rows: list[dict[str, str]]) -> dict[str, np.ndarray]:
    """Columns for Triton's clients: NaN and empty text where a value is missing."""
    numbers = {n for n, kind in DATATYPES.items() if kind == "FP64"}
    return {
        n: np.array([float(row[n] or "nan") for row in rows])
        if n in numbers
        else np.array([row[n].encode() for row in rows], dtype=object)
        for n in DATATYPES
    }


def inputs(module: object, rows: list[dict[str, str]], two: bool = False, **how: bool) -> list:
    made = []
    for name, array in arrays(rows).items():
        shaped = array.reshape(-1, 1) if two else array
        made.append(module.InferInput(name, shaped.shape, DATATYPES[name]))
        made[-1].set_data_from_numpy(shaped, **how)
    return made


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("two", [False, True])
def test_http_client_gets_the_probabilities_of_predict(
    server: Served, rows: list, expected: np.ndarray, bundle: Path, binary: bool, two: bool
) -> None:
    kept = [n for n, row in enumerate(rows) if binary or (row["age"] and row["price"])]  # JSON has no NaN
    sent = inputs(triton_http, [rows[n] for n in kept], two, binary_data=binary)
    asked = [triton_http.InferRequestedOutput("probability", binary_data=binary)]
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        got = client.infer("champion", sent, outputs=asked, request_id="a1")
    assert np.array_equal(got.as_numpy("probability"), expected[kept])
    assert got.as_numpy("probability").dtype == np.float32
    answer = got.get_response()
    assert (answer["id"], answer["model_name"]) == ("a1", "champion")
    assert answer["model_version"] == version_of(bundle)


def test_http_client_without_options_is_understood(server: Served, rows: list, expected: np.ndarray) -> None:
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert np.array_equal(
            client.infer("champion", inputs(triton_http, rows)).as_numpy("probability"), expected
        )
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("champion")
        assert not client.is_model_ready("other")
        assert client.get_server_metadata()["name"] == "ctrloom"


def test_grpc_client_gets_the_probabilities_of_predict(
    server: Served, rows: list, expected: np.ndarray, bundle: Path
) -> None:
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        got = client.infer("champion", inputs(triton_grpc, rows), request_id="b2")
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("champion", version_of(bundle))
        assert client.get_server_metadata().name == "ctrloom"
        about = client.get_model_metadata("champion")
        with pytest.raises(InferenceServerException, match=r"NOT_FOUND.*'other'.*'champion'"):
            client.infer("other", inputs(triton_grpc, rows))
    assert np.array_equal(got.as_numpy("probability"), expected)
    response = got.get_response()
    assert (response.id, response.model_version) == ("b2", version_of(bundle))
    assert {each.name: each.datatype for each in about.inputs} == DATATYPES
    assert list(about.versions) == [version_of(bundle)]


def test_grpc_contents_without_raw_form(server: Served, rows: list, expected: np.ndarray) -> None:
    request = service_pb2.ModelInferRequest(model_name="champion")
    for name, array in arrays(rows).items():
        each = request.inputs.add(name=name, datatype=DATATYPES[name], shape=array.shape)
        getattr(each.contents, "bytes_contents" if array.dtype == object else "fp64_contents").extend(array)
    request.outputs.add(name="malformed")
    request.outputs.add(name="probability")
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            service_pb2.ModelInferRequest.SerializeToString,
            service_pb2.ModelInferResponse.FromString,
        )
        answer = call(request)
    reasons, found = answer.outputs
    assert list(reasons.contents.bytes_contents) == [b""] * len(rows)
    assert np.array_equal(np.float32(found.contents.fp32_contents), expected)
    assert answer.id


def test_json_numbers_are_the_shortest_of_their_float32(
    server: Served, rows: list, expected: np.ndarray
) -> None:
    answer = server.infer(request_of(rows, id="c3"))
    (output,) = answer["outputs"]
    assert (output["datatype"], output["shape"], answer["id"]) == ("FP32", [len(rows)], "c3")
    assert np.array_equal(np.float32(output["data"]), expected)


def test_datatypes_give_the_token_of_their_text(server: Served) -> None:
    """`7`, 7 and 7.0 are one number, and a number in a column of tokens is the token of its text."""

    def probability(kind: str, age: object, name: str = "age") -> float:
        inputs = [
            {"name": n, "datatype": "BYTES", "shape": [1], "data": [None]} for n in DATATYPES if n != name
        ]
        inputs.append({"name": name, "datatype": kind, "shape": [1], "data": [age]})
        return server.infer({"inputs": inputs})["outputs"][0]["data"][0]

    kinds = "BYTES", "INT64", "INT8", "UINT16", "FP64", "FP32"
    found = {probability(kind, {"BYTES": "7"}.get(kind, 7)) for kind in kinds}
    assert len(found) == 1
    assert found != {probability("INT64", 70)}
    assert probability("BYTES", "", "user") == probability("BYTES", None, "user")
    assert probability("BYTES", "u3", "user") != probability("BYTES", None, "user")


def test_malformed_rows_are_an_error_or_an_output(server: Served, rows: list, expected: np.ndarray) -> None:
    request = request_of(rows[:4])
    age = next(each for each in request["inputs"] if each["name"] == "age")
    age |= {"datatype": "BYTES", "data": [row["age"] for row in rows[:4]]}
    age["data"][2] = "old"
    status, _, content = server.call(body=json.dumps(request).encode())
    assert status == 400
    assert json.loads(content)["error"].startswith("row 2: age ")
    assert "'old'" in json.loads(content)["error"]
    named = {"outputs": [{"name": "probability"}, {"name": "malformed"}]}
    found, reasons = server.infer({**request, **named})["outputs"]
    assert found["data"][2] is None
    assert np.array_equal(np.float32(found["data"])[[0, 1, 3]], expected[[0, 1, 3]])
    assert [bool(reason) for reason in reasons["data"]] == [False, False, True, False]
    assert reasons["data"][2].startswith("age ")


def test_columns_may_be_in_any_order_and_others_are_ignored(
    server: Served, rows: list, expected: np.ndarray
) -> None:
    request = request_of(rows)
    request["inputs"] = [
        {"name": "other", "datatype": "STRANGE", "shape": [2, 3], "data": [1]},
        *reversed(request["inputs"]),
    ]
    assert np.array_equal(np.float32(server.infer(request)["outputs"][0]["data"]), expected)


@pytest.mark.parametrize("count", [3, 450])
def test_few_and_many_rows_are_read_alike(
    server: Served, rows: list, bundle: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few rows are encoded value by value, many by column."""
    monkeypatch.setattr(question, "FEW", 100)
    many = [rows[n % len(rows)] for n in range(count)]
    request = request_of(many)
    age, price = (next(each for each in request["inputs"] if each["name"] == n) for n in ("age", "price"))
    age["data"][:2] = [-1, 2**63]
    price |= {"datatype": "FP32", "data": [each and np.float64(each).round(3) for each in price["data"]]}
    found = server.infer(request)["outputs"][0]["data"]
    text = [{**row, "age": str(n)} for row, n in zip(many, (-1, 2**63), strict=False)] + many[2:]
    np.testing.assert_allclose(found, load_bundle(str(bundle)).predict(text), rtol=0, atol=1e-6)


def test_paths(server: Served, bundle: Path) -> None:
    version = version_of(bundle)
    got = {path: server.call(path) for path in ("/v2", "/v2/health/live", "/v2/health/ready")}
    assert all(status == 200 for status, _, _ in got.values())
    about = json.loads(server.call("/v2/models/champion")[2])
    assert about["versions"] == [version]
    assert about["inputs"] == [{"name": n, "datatype": d, "shape": [-1]} for n, d in DATATYPES.items()]
    assert json.loads(server.call(f"/v2/models/champion/versions/{version}")[2]) == about
    assert server.call(f"/v2/models/champion/versions/{version}/ready")[0] == 200
    status, _, content = server.call(f"/v2/models/champion/versions/{'0' * 12}/ready")
    assert (status, version in content.decode()) == (404, True)
    body = json.dumps(request_of([dict.fromkeys(DATATYPES, "")])).encode()
    assert server.call(f"/v2/models/champion/versions/{version}/infer", body)[0] == 200
    assert server.call(INFER.replace("champion", "other"), body)[0] == 404


def test_the_protocol_file_has_the_names_and_numbers_of_the_protocol() -> None:
    """The messages of Triton's client have at least the fields of ours, with the same numbers and types."""
    ours = messages.METHODS["ModelInfer"][0].DESCRIPTOR.file
    theirs = service_pb2.DESCRIPTOR

    def compared(our: object, their: object) -> int:
        for field in our.fields:
            other = their.fields_by_name[field.name]
            assert (field.number, field.type, field.is_repeated) == (
                other.number,
                other.type,
                other.is_repeated,
            )
        inner = [compared(each, their.nested_types_by_name[each.name]) for each in our.nested_types]
        return len(our.fields) + sum(inner)

    total = sum(
        compared(each, theirs.message_types_by_name[name])
        for name, each in ours.message_types_by_name.items()
    )
    assert total > 60


def test_the_descriptor_is_that_of_the_protocol_file(tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc")
    folder = Path(messages.__file__).parent
    output = tmp_path / "made.binpb"
    assert protoc.main(["", f"-I{folder}", f"--descriptor_set_out={output}", "open_inference.proto"]) == 0
    assert output.read_bytes() == (folder / "open_inference.binpb").read_bytes()
