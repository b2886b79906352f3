"""Targets of serving: requests to the server, its traffic log, and labels that come later."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf.message import DecodeError

from ctrloom.data.parquet.writer import sealed_writer
from ctrloom.serving import traffic
from ctrloom.serving.labels import Labels
from ctrloom.serving.server import json_body, rpc
from ctrloom.serving.server.errors import RequestError
from ctrloom.serving.server.messages import METHODS
from ctrloom.serving.server.models import from_bundle
from ctrloom.serving.server.question import Answer, Question, answered
from ctrloom.serving.server.traffic_log import described
from fuzz.json_edits import edited
from fuzz.kinds import Target, shared_assets

MOST_ROWS = 1_000
DAY = "2026-11-30"
BINARY = b"\xff"  # before a body with binary tensors: this byte, and the length of its JSON as two bytes


class _Requests(Target):
    """Requests to a server of the shared bundle."""

    def seeds(self) -> Sequence[bytes]:
        self.model = from_bundle(shared_assets(self.folder) / "bundle")
        return self.requests()

    def requests(self) -> Sequence[bytes]:
        """Valid requests."""
        raise NotImplementedError

    def answered(self, question: Question) -> Answer:
        """The answer, whose rows can be logged."""
        answer = answered(question, self.model)
        described(answer, question.table())
        return answer


class RestRequests(_Requests):
    """Bodies of HTTP requests: JSON, raw or edited value by value, and tensors after it."""

    def requests(self) -> Sequence[bytes]:
        inputs = [
            {"name": "a", "datatype": "BYTES", "shape": [2], "data": ["x", None]},
            {"name": "n", "datatype": "FP64", "shape": [2, 1], "data": [[1.5], [2]]},
        ]
        outputs = [{"name": "probability", "parameters": {"binary_data": True}}, {"name": "malformed"}]
        self.seed = json.dumps({"id": "r1", "inputs": inputs, "outputs": outputs}).encode()
        tensors = b"\1\0\0\0x", b"\0\0\xc0\x3f"
        sizes = zip(("a", "n"), ("BYTES", "FP32"), map(len, tensors), strict=True)
        binary = json.dumps(
            {
                "inputs": [
                    {"name": name, "datatype": kind, "shape": [1], "parameters": {"binary_data_size": size}}
                    for name, kind, size in sizes
                ]
            }
        ).encode()
        return [self.seed, b"\xc0x", BINARY + len(binary).to_bytes(2) + binary + b"".join(tensors)]

    def parse(self, data: bytes) -> None:
        length = None
        if data.startswith(BINARY):
            length, data = int.from_bytes(data[1:3]), data[3:]
        elif data[:1] >= b"\xc0":
            data = edited(self.seed, data[1:])
        question, binary = json_body.parsed(data, length, self.model, MOST_ROWS)
        json_body.rendered(self.answered(question), "champion", binary)


class RpcRequests(_Requests):
    """Messages of gRPC."""

    def requests(self) -> Sequence[bytes]:
        request = METHODS["ModelInfer"][0]
        inputs = [
            {"name": "a", "datatype": "BYTES", "shape": [2], "contents": {"bytes_contents": [b"x", b""]}},
            {"name": "n", "datatype": "FP64", "shape": [2, 1], "contents": {"fp64_contents": [1.5, 2]}},
        ]
        raw = [{key: each[key] for key in ("name", "datatype", "shape")} for each in inputs]
        return [
            request(model_name="champion", id="r1", inputs=inputs).SerializeToString(),
            request(
                inputs=raw,
                raw_input_contents=[b"\1\0\0\0x\0\0\0\0", bytes(16)],
                outputs=[{"name": "malformed"}],
            ).SerializeToString(),
        ]

    def parse(self, data: bytes) -> None:
        kind, answer = METHODS["ModelInfer"]
        try:
            request = kind.FromString(data)
        except DecodeError as error:
            raise RequestError(str(error)) from None
        question = rpc.parsed(request, self.model, MOST_ROWS)
        answer(**rpc.rendered(self.answered(question), request)).SerializeToString()


class LogParts(Target):
    """Parts of a traffic log, which labels are joined to."""

    def seeds(self) -> Sequence[bytes]:
        values = [["r0", "r1"], [0, 0], [0, 1], ["v", "v"], [0.5, None], [None, "a is malformed"]]
        meta = dict(zip(traffic.META, values, strict=True))
        types = [(f"{traffic.PREFIX}{name}", type) for name, type in traffic.META.items()]
        schema = pa.schema([*types, ("a", pa.string()), ("n", pa.float64())])
        rows = pa.table([*meta.values(), ["x", None], [1.5, None]], schema=schema)
        self.part = self.folder / "log" / DAY / "part.parquet"
        self.part.parent.mkdir(parents=True)
        self.labels = self.folder / "labels.csv"
        self.labels.write_text("request_id,click\nr0,1\nr1,0\n")
        with sealed_writer(self.part, schema, compression="zstd") as (writer, _):
            writer.write_table(rows)
        sealed = self.part.read_bytes()
        pq.write_table(rows, self.part)
        return [sealed, self.part.read_bytes()]

    def parse(self, data: bytes) -> None:
        self.part.write_bytes(data)
        traffic.join_labels(self.folder / "log", str(self.labels), self.folder / "joined.csv", keep=["row"])


def parquet_labels() -> Sequence[bytes]:
    """Labels in Parquet."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"request_id": ["r0", "r1"], "row": [0, 1], "click": [1, 0]}), sink)
    return [sink.getvalue().to_pybytes()]


def read_labels(path: Path) -> None:
    """Read a file of labels."""
    Labels.read(str(path))
