"""The protocol over gRPC."""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from ctrloom.config.errors import UserError
from ctrloom.progress import warn
from ctrloom.serving.server.errors import NotReadyError, RequestError
from ctrloom.serving.server.messages import METHODS, SERVICE
from ctrloom.serving.server.models import ServedModel
from ctrloom.serving.server.question import (
    MALFORMED,
    PROBABILITY,
    Answer,
    Input,
    Question,
    checked_id,
    columns_of,
    outputs_of,
)
from ctrloom.serving.server.service import SERVER, Service
from ctrloom.serving.server.tensors import Tensor, from_bytes, from_texts, from_values, to_bytes
from ctrloom.storage import one_line

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
CONTENTS = {  # of datatypes whose contents have another name than the type
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
}


class Rpc:
    """The methods of the service; each returns the fields of its response."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def server(self, address: str) -> tuple[grpc.aio.Server, int]:
        """A server that listens at an address, and its port.

        Raises:
            OSError: the address is in use.
        """
        limits = self.service.limits
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limits.body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", limits.header_bytes),
                ("grpc.absolute_max_metadata_size", limits.header_bytes),
                ("grpc.so_reuseport", 0),
                ("grpc.server_handshake_timeout_ms", int(1000 * limits.header_seconds)),
                ("grpc.max_connection_idle_ms", int(1000 * limits.idle_seconds)),
                ("grpc.keepalive_time_ms", int(1000 * limits.body_seconds)),
                ("grpc.keepalive_timeout_ms", int(1000 * limits.header_seconds)),
            ],
            maximum_concurrent_rpcs=limits.concurrency,
        )
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._guarded(getattr(self, _snake(name)), question, answer)
            )
            for name, (question, answer) in METHODS.items()
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        try:
            return server, server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"gRPC cannot listen on {address}: {one_line(error)}") from None

    async def server_live(self, request: Any) -> dict[str, Any]:
        """Whether the process answers."""
        return {"live": True}

    async def server_ready(self, request: Any) -> dict[str, Any]:
        """Whether requests are welcome."""
        return {"ready": self.service.ready}

    async def model_ready(self, request: Any) -> dict[str, Any]:
        """Whether this model is served."""
        try:
            return {"ready": bool(self.service.require_ready(request.name, request.version))}
        except NotReadyError:
            return {"ready": False}

    async def server_metadata(self, request: Any) -> dict[str, Any]:
        """Name and version of the server."""
        return dict(SERVER)

    async def model_metadata(self, request: Any) -> dict[str, Any]:
        """Inputs and outputs of the model."""
        return self.service.metadata(self.service.models.get(request.name, request.version))

    async def model_infer(self, request: Any) -> dict[str, Any]:
        """Probabilities of rows."""
        service = self.service
        model = service.models.get(request.model_name, request.model_version)

        def work() -> dict[str, Any]:
            return rendered(service.answer(parsed(request, model, service.limits.rows), model), request)

        return await service.run(work, request.ByteSize())

    def _guarded(
        self, method: Callable[[Any], Awaitable[dict[str, Any]]], question: Any, answer: Any
    ) -> Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]:
        """The method, with errors as status codes; requests for probabilities are counted."""
        counts = method == self.model_infer

        async def called(sent: bytes, context: grpc.aio.ServicerContext) -> bytes:
            began, status, text = time.perf_counter(), grpc.StatusCode.OK, ""
            try:
                found: bytes = answer(**await method(question.FromString(sent))).SerializeToString()
                return found
            except DecodeError as error:
                status, text = CODES[400], str(error)
            except UserError as error:
                status, text = CODES[error.status if isinstance(error, RequestError) else 400], str(error)
            except Exception as error:
                warn(f"a request failed: {type(error).__name__}: {one_line(error)}")
                status, text = grpc.StatusCode.INTERNAL, "the server failed; its log has the reason"
            finally:
                if counts:
                    self.service.metrics.answered("grpc", status.name, began)
            await context.abort(status, text)
            raise AssertionError("abort raises")

        return called


def parsed(request: Any, model: ServedModel, most: int) -> Question:
    """The question of a request.

    Raises:
        RequestError: the request is invalid.
        TooLargeError: more than `most` rows.
    """
    columns = columns_of(_inputs(request.inputs, request.raw_input_contents), model, most)
    return Question(checked_id(request.id), columns, outputs_of(each.name for each in request.outputs))


def _inputs(inputs: Sequence[Any], raw: Sequence[bytes]) -> Iterator[Input]:
    if raw and len(raw) != len(inputs):
        raise RequestError(f"raw_input_contents: has {len(raw):,} tensors for {len(inputs):,} inputs")
    for at, each in enumerate(inputs):
        tensor = Tensor(each.name, each.datatype, list(each.shape))
        if raw:
            yield tensor, partial(from_bytes, tensor, raw[at])
        elif tensor.datatype == "BYTES":
            yield tensor, partial(from_texts, tensor, each.contents.bytes_contents)
        else:
            name = CONTENTS.get(tensor.datatype, f"{tensor.datatype.lower()}_contents")
            yield tensor, partial(from_values, tensor, list(getattr(each.contents, name, ())))


def rendered(answer: Answer, request: Any) -> dict[str, Any]:
    """The fields of a response, in raw form if the request was."""
    outputs, raw = list[dict[str, Any]](), list[bytes]()
    as_raw = bool(request.raw_input_contents)
    for name in answer.question.outputs:
        kind, contents = "FP32", dict[str, Any](fp32_contents=answer.probabilities)
        if name == MALFORMED:
            kind, contents = "BYTES", {"bytes_contents": [reason.encode() for reason in answer.reasons]}
        output = {"name": name, "datatype": kind, "shape": [len(answer.probabilities)]}
        if as_raw:
            texts = name != PROBABILITY
            raw.append(to_bytes(answer.reasons) if texts else answer.probabilities.astype("<f4").tobytes())
        outputs.append(output if as_raw else {**output, "contents": contents})
    return {
        "model_name": request.model_name,
        "model_version": answer.version,
        "id": answer.question.id,
        "outputs": outputs,
        "raw_output_contents": raw,
    }


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")
