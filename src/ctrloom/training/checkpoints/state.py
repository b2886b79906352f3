"""A training state as JSON and tensors: numbers, text, tensors and epochs, in lists, tuples and dicts."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ctrloom.training.history import Epoch

TYPES = {  # names of the safetensors format
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

PIECE = 64 << 20
SMALL = 1 << 16  # bytes of tensors that are joined in one piece


def encoded(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """The state as JSON, in which tensors are numbers, and the tensors; nothing is copied.

    Raises:
        TypeError: a value is of another type.
    """
    tensors: dict[str, Tensor] = {}
    return _encoded(state, tensors), tensors


def decoded(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The state that `encoded` was given.

    Raises:
        ValueError: this is not what `encoded` returned.
    """
    try:
        return _decoded(tree, tensors)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError("its state is not one of a training") from error


def _decoded(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_decoded(each, tensors) for each in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, value),) = tree.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "float":
        return float(value)
    if kind == "epoch":
        return Epoch(**_decoded(value, tensors))
    if kind == "tuple":
        return tuple(_decoded(value, tensors))
    return {_decoded(key, tensors): _decoded(each, tensors) for key, each in value}


def as_safetensors(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The bytes of a file in the safetensors format, in pieces; large tensors of the CPU are not copied."""
    names = sorted(tensors, key=lambda name: -tensors[name].element_size())  # each is then aligned
    header, end = {}, 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        shape = list(tensors[name].shape)
        header[name] = {"dtype": TYPES[tensors[name].dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    small = [len(text).to_bytes(8, "little"), text]
    for name in names:
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        content: memoryview = flat.view(torch.uint8).numpy().data
        if len(content) < SMALL:
            small.append(bytes(content))
            continue
        yield b"".join(small)
        small = []
        yield from (content[start : start + PIECE] for start in range(0, len(content), PIECE))
    yield b"".join(small)


def _encoded(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name := str(len(tensors))] = value
        return {"tensor": name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(float(value))}
    if value is None or type(value) in (bool, int, float, str):
        return value
    again: Callable[[Any], Any] = lambda each: _encoded(each, tensors)  # noqa: E731
    if isinstance(value, Epoch):
        return {"epoch": again(value.model_dump())}
    if isinstance(value, Mapping):
        return {"dict": [[again(key), again(each)] for key, each in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [again(each) for each in value]}
    if isinstance(value, list):
        return [again(each) for each in value]
    raise TypeError(f"a training state cannot contain a {type(value).__name__}")
