"""Tensors of the protocol as Arrow columns, and back. N rows."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ctrloom.serving.server.errors import RequestError, TooLargeError

INTEGERS = {f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
ARROW = {
    "BYTES": pa.string(),
    "BOOL": pa.bool_(),
    "FP32": pa.float32(),
    "FP64": pa.float64(),
    **{name: getattr(pa, name.lower())() for name in INTEGERS},
}

_FAULTS = pa.ArrowException, TypeError, ValueError, OverflowError


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
    if datatype not in ARROW:
        raise RequestError(
            f"input {name!r}: datatype must be one of {', '.join(ARROW)}, not {shown(datatype)}"
        )
    whole = all(type(size) is int for size in shape)
    if not whole or len(shape) not in (1, 2) or shape[1:] not in ([], [1]) or shape[0] < 1:
        raise RequestError(f"input {name!r}: shape must be [N] or [N, 1] with N rows")
    if shape[0] > most:
        raise TooLargeError(f"input {name!r}: has {shape[0]:,} rows; a request may have {most:,}")
    return shape[0]


def from_values(tensor: Tensor, values: list[Any], rows: int) -> pa.Array:
    """Values of JSON or of a repeated field, one per row, possibly nested in lists of one; None is missing.

    Raises:
        RequestError: another number of values, or one of another type; it names the row.
    """
    if tensor.shape[1:] and len(values) == rows and any(type(value) is list for value in values):
        values = [_only(tensor, row, value) for row, value in enumerate(values)]
    if len(values) != rows:
        raise RequestError(f"input {tensor.name!r}: has {len(values):,} values for {rows:,} rows")
    try:
        return _array(tensor.datatype, values)
    except _FAULTS:
        raise _first_fault(tensor, values, lambda value: _array(tensor.datatype, [value])) from None


def from_bytes(tensor: Tensor, content: bytes | memoryview, rows: int) -> pa.Array:
    """Values in the binary form of the protocol; NaN is a missing value, and usually empty text.

    Raises:
        RequestError: another number of bytes, or text that is not UTF-8.
    """
    if tensor.datatype == "BYTES":
        return _texts(tensor, content, rows)
    kind = ARROW[tensor.datatype]
    numpy_kind = np.dtype(kind.to_pandas_dtype()).newbyteorder("<")
    if len(content) != rows * numpy_kind.itemsize:
        raise RequestError(
            f"input {tensor.name!r}: has {len(content):,} bytes; {rows:,} rows of {tensor.datatype} have "
            f"{rows * numpy_kind.itemsize:,}"
        )
    return pa.array(np.frombuffer(content, numpy_kind), kind)


def to_bytes(texts: Sequence[str]) -> bytes:
    """Texts in the binary form of the protocol: each after its length as 4 bytes."""
    parts = [text.encode() for text in texts]
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def _array(datatype: str, values: list[Any]) -> pa.Array:
    """An array of a datatype; Arrow itself would take a fraction as an integer and true as 1."""
    kind = ARROW[datatype]
    if datatype == "BYTES":
        return pa.array(values, kind)
    found = pa.array(values)
    number = pa.types.is_integer(found.type) or (datatype[0] == "F" and pa.types.is_floating(found.type))
    if not (found.type == kind or (number and datatype != "BOOL") or pa.types.is_null(found.type)):
        raise TypeError
    return found if found.type == kind else found.cast(kind, safe=datatype[0] != "F")


def _texts(tensor: Tensor, content: bytes | memoryview, rows: int) -> pa.Array:
    view, at, values = memoryview(content), 0, list[bytes]()
    while at < len(view) and len(values) <= rows:
        stop = at + 4 + int.from_bytes(view[at : at + 4], "little")
        if stop > len(view):
            raise RequestError(f"input {tensor.name!r}: its text number {len(values)} is cut off")
        values.append(bytes(view[at + 4 : stop]))
        at = stop
    return from_texts(tensor, values, rows)


def from_texts(tensor: Tensor, values: Sequence[bytes], rows: int) -> pa.Array:
    """Texts as bytes.

    Raises:
        RequestError: another number of texts, or one is not UTF-8; it names the row.
    """
    if len(values) != rows:
        raise RequestError(f"input {tensor.name!r}: its data have not {rows:,} texts, as its shape says")
    try:
        return pa.array([value.decode() for value in values], pa.string())
    except UnicodeDecodeError:
        raise _first_fault(tensor, values, lambda value: value.decode(), "text in UTF-8") from None


def _only(tensor: Tensor, row: int, value: Any) -> Any:
    if type(value) is list and len(value) == 1 and type(value[0]) is not list:
        return value[0]
    raise RequestError(f"input {tensor.name!r}: row {row} must be a list of one value")


def _first_fault(
    tensor: Tensor, values: Sequence[Any], convert: Callable[[Any], Any], wanted: str = ""
) -> RequestError:
    wanted = wanted or ("text" if tensor.datatype == "BYTES" else tensor.datatype)
    for row, value in enumerate(values):
        try:
            convert(value)
        except _FAULTS:
            return RequestError(f"input {tensor.name!r}: row {row} is not {wanted}: {shown(value)}")
    return RequestError(f"input {tensor.name!r}: its values are not {wanted}")
