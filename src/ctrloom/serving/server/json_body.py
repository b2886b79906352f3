"""Bodies of HTTP requests and responses: JSON, and after it tensors in binary form if the client wants."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import orjson

from ctrloom.serving.server.errors import RequestError
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
from ctrloom.serving.server.tensors import Tensor, from_bytes, from_values, shown, to_bytes

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


def parsed(body: bytes, json_bytes: int | None, model: ServedModel, most: int) -> tuple[Question, set[str]]:
    """The question in a body, and the outputs that it wants in binary form.

    The first `json_bytes` are JSON, and the rest are tensors; all is JSON if it is None.

    Raises:
        RequestError: the body is not a request of the protocol.
        TooLargeError: more than `most` rows.
    """
    if json_bytes is not None and json_bytes > len(body):
        raise RequestError(f"Inference-Header-Content-Length: the body has only {len(body):,} bytes")
    try:
        raw = orjson.loads(body if json_bytes is None else memoryview(body)[:json_bytes])
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    if type(raw) is not dict:
        raise RequestError(f"the body must be an object, not {shown(raw)}")
    binary = memoryview(body)[len(body) if json_bytes is None else json_bytes :]
    columns = columns_of(_inputs(_list(raw, "inputs"), binary), model, most)
    outputs = _list(raw, "outputs") if raw.get("outputs") is not None else []
    names = outputs_of(_get(output, "name", str) for output in outputs)
    by_default = bool(_parameters(raw).get("binary_data_output"))
    wanted = {str(each["name"]): bool(_parameters(each).get("binary_data", by_default)) for each in outputs}
    return Question(checked_id(raw.get("id")), columns, names), {
        name for name in names if wanted.get(name, by_default)
    }


def rendered(answer: Answer, name: str, binary: set[str]) -> tuple[bytes, int | None]:
    """The body of a response, and the length of its JSON if tensors follow it."""
    outputs, tail = list[dict[str, Any]](), list[bytes]()
    for output in answer.question.outputs:
        about = {"name": output, "datatype": _DATATYPES[output], "shape": [len(answer.probabilities)]}
        if output in binary:
            tail.append(
                answer.probabilities.astype("<f4").tobytes()
                if output == PROBABILITY
                else to_bytes(answer.reasons)
            )
            outputs.append({**about, "parameters": {"binary_data_size": len(tail[-1])}})
        else:
            data = np.ascontiguousarray(answer.probabilities) if output == PROBABILITY else answer.reasons
            outputs.append({**about, "data": data})
    body = {
        "model_name": name,
        "model_version": answer.version,
        "id": answer.question.id,
        "outputs": outputs,
    }
    text = orjson.dumps(body, option=_OPTIONS)
    return (b"".join([text, *tail]), len(text)) if tail else (text, None)


_DATATYPES = {PROBABILITY: "FP32", MALFORMED: "BYTES"}


def _inputs(raw: list[Any], binary: memoryview) -> Iterator[Input]:
    at = 0
    for each in raw:
        if type(each) is not dict:
            raise RequestError(f"inputs: must be objects, not {shown(each)}")
        tensor = Tensor(_get(each, "name", str), _get(each, "datatype", str), _get(each, "shape", list))
        size = _parameters(each).get("binary_data_size")
        if size is None:
            yield tensor, partial(from_values, tensor, _get(each, "data", list, tensor.name))
            continue
        if type(size) is not int or size < 0 or at + size > len(binary):
            left = len(binary) - at
            raise RequestError(
                f"input {tensor.name!r}: binary_data_size is {shown(size)}, but {left:,} bytes follow"
            )
        yield tensor, partial(from_bytes, tensor, binary[at : at + size])
        at += size


def _list(raw: dict[str, Any], key: str) -> list[Any]:
    found = _get(raw, key, list)
    assert type(found) is list
    return found


def _get(raw: Any, key: str, kind: type, of: str = "") -> Any:
    if type(raw) is not dict:
        raise RequestError(f"must be an object with {key!r}, not {shown(raw)}")
    found = raw.get(key)
    if type(found) is kind:
        return found
    what = "text" if kind is str else "a list"
    where = f"input {of!r}: " if of else ""
    raise RequestError(f"{where}{key!r} must be {what}" + (f", not {shown(found)}" if key in raw else ""))


def _parameters(raw: dict[str, Any]) -> dict[str, Any]:
    found = raw.get("parameters")
    if found is None:
        return {}
    if type(found) is not dict:
        raise RequestError(f"'parameters' must be an object, not {shown(found)}")
    return found
