"""Tensors of the protocol as columns of Python values, and texts in their binary form. N rows."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ctrloom.serving.server.errors import RequestError, TooLargeError

INTEGERS = {f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
NUMPY = {**INTEGERS, "BOOL": "bool", "FP32": "float32", "FP64": "float64"}
DATATYPES = ("BYTES", *NUMPY)
_FLOATS: set[type] = {float, int, type(None)}
_PYTHON: dict[str, set[type]] = {  # types of JSON values
    "BYTES": {str, type(None)},
    "BOOL": {bool, type(None)},
    "FP32": _FLOATS,
    "FP64": _FLOATS,
    **{name: {int, type(None)} for name in INTEGERS},
}


class Tensor(NamedTuple):
    """An input of a request."""

    name: str
    datatype: str
    shape: Sequence[int]


def shown(value: Any) -> str:
    """A value of a request for a message; what may be long or deep is named only."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return f"{value!r:.60}"


def rows_of(tensor: Tensor, most: int) -> int:
    """The number of rows of a tensor of the shape [N] or [N, 1].

    Raises:
        RequestError: another shape or an unknown datatype.
        TooLargeError: more than `most` rows.
    """
    name, datatype, shape = tensor
    if datatype not in _PYTHON:
        known = ", ".join(DATATYPES)
        raise RequestError(f"input {name!r}: datatype must be one of {known}, not {shown(datatype)}")
    whole = all(type(size) is int for size in shape)
    if not whole or len(shape) not in (1, 2) or shape[1:] not in ([], [1]) or shape[0] < 1:
        raise RequestError(f"input {name!r}: shape must be [N] or [N, 1] with N rows")
    if shape[0] > most:
        raise TooLargeError(f"input {name!r}: has {shape[0]:,} rows; a request may have {most:,}")
    return shape[0]


def from_values(tensor: Tensor, values: list[Any], rows: int) -> list[Any]:
    """Values of JSON or of a repeated field, one per row, possibly nested in lists of one; None is missing.

    Raises:
        RequestError: another number of values, or one of another type; it names the row.
    """
    if tensor.shape[1:] and len(values) == rows and list in set(map(type, values)):
        values = [_only(tensor, row, value) for row, value in enumerate(values)]
    if len(values) != rows:
        raise RequestError(f"input {tensor.name!r}: has {len(values):,} values for {rows:,} rows")
    allowed = _PYTHON[tensor.datatype]
    if not allowed.issuperset(map(type, values)):
        raise _first_fault(tensor, values, lambda value: type(value) in allowed)
    if tensor.datatype in INTEGERS:
        bounds = np.iinfo(NUMPY[tensor.datatype])
        if any(value is not None and not bounds.min <= value <= bounds.max for value in values):
            raise _first_fault(tensor, values, lambda value: bounds.min <= (value or 0) <= bounds.max)
    return _shortest(values) if tensor.datatype == "FP32" else values


def from_bytes(tensor: Tensor, content: bytes | memoryview, rows: int) -> list[Any]:
    """Values in the binary form of the protocol; NaN is a missing value, and usually empty text.

    Raises:
        RequestError: another number of bytes, or text that is not UTF-8.
    """
    if tensor.datatype == "BYTES":
        return from_texts(tensor, _texts(tensor, content, rows), rows)
    kind = np.dtype(NUMPY[tensor.datatype]).newbyteorder("<")
    if len(content) != rows * kind.itemsize:
        raise RequestError(
            f"input {tensor.name!r}: has {len(content):,} bytes; {rows:,} rows of {tensor.datatype} have "
            f"{rows * kind.itemsize:,}"
        )
    values: list[Any] = np.frombuffer(content, kind).tolist()
    return _shortest(values) if tensor.datatype == "FP32" else values


def from_texts(tensor: Tensor, values: Sequence[bytes], rows: int) -> list[str]:
    """Texts as bytes.

    Raises:
        RequestError: another number of texts, or one is not UTF-8; it names the row.
    """
    if len(values) != rows:
        raise RequestError(f"input {tensor.name!r}: its data are not the {rows:,} texts of its shape")
    try:
        return [value.decode() for value in values]
    except UnicodeDecodeError:
        raise _first_fault(tensor, values, _is_text, "text in UTF-8") from None


def to_bytes(texts: Sequence[str]) -> bytes:
    """Texts in the binary form of the protocol: each after its length as 4 bytes."""
    parts = [text.encode() for text in texts]
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def _texts(tensor: Tensor, content: bytes | memoryview, rows: int) -> list[bytes]:
    view, at, values = memoryview(content), 0, list[bytes]()
    while at < len(view) and len(values) <= rows:
        stop = at + 4 + int.from_bytes(view[at : at + 4], "little")
        if stop > len(view):
            raise RequestError(f"input {tensor.name!r}: its text number {len(values)} is cut off")
        values.append(bytes(view[at + 4 : stop]))
        at = stop
    return values


def _shortest(values: list[Any]) -> list[Any]:
    """Float32 as the numbers of their shortest texts: 0.1 instead of 0.10000000149011612."""
    found: list[Any] = pa.array(values, pa.float32()).cast(pa.string()).cast(pa.float64()).to_pylist()
    return found


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _only(tensor: Tensor, row: int, value: Any) -> Any:
    if type(value) is list and len(value) == 1 and type(value[0]) is not list:
        return value[0]
    raise RequestError(f"input {tensor.name!r}: row {row} must be a list of one value")


def _first_fault(
    tensor: Tensor, values: Sequence[Any], fits: Callable[[Any], bool], wanted: str = ""
) -> RequestError:
    wanted = wanted or ("text" if tensor.datatype == "BYTES" else tensor.datatype)
    row = next(row for row, value in enumerate(values) if not fits(value))
    return RequestError(f"input {tensor.name!r}: row {row} is not {wanted}: {shown(values[row])}")
