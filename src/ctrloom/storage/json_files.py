"""JSON and text files, written atomically."""

import json
import math
from typing import Any

from ctrloom.storage import objects
from ctrloom.storage.clients import client
from ctrloom.storage.errors import StorageError
from ctrloom.storage.local import atomic_file
from ctrloom.storage.location import Location, Place, place


def read_json(path: str | Place) -> Any:
    """Parse one JSON file.

    Raises:
        StorageError: the file is missing or not JSON.
    """
    path = place(path)
    if (stored := objects.read(path)) is None:
        missing = "no such object" if isinstance(path, Location) else "No such file or directory"
        raise StorageError(f"{path}: cannot be read: {missing}; check the name")
    return parse_json(stored.content, path)


def parse_json(content: bytes, where: object) -> Any:
    """The value of a JSON text, whose numbers are finite and whose keys are unique.

    Raises:
        StorageError: it is not JSON; the message begins with `where`.
    """
    if not content.strip():
        raise StorageError(f"{where}: is not JSON: it is empty")
    try:
        value = json.loads(
            content.decode(), object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite
        )
        json.dumps(value, ensure_ascii=False).encode()  # neither too deep to write, nor halves of a character
    except RecursionError:
        raise StorageError(f"{where}: is not JSON: it is nested too deeply") from None
    except ValueError as error:
        raise StorageError(f"{where}: is not JSON: {error}") from None
    return value


def write_json(path: str | Place, value: Any) -> None:
    """Write one JSON file atomically."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """Serialise a value in the format of all JSON files."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def write_text(path: str | Place, text: str) -> None:
    """Write one text file atomically."""
    path = place(path)
    if isinstance(path, Location):
        client(path).write(path, text.encode())
        return
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def exists(path: Place) -> bool:
    """True if the file exists.

    Raises:
        StorageError: the store cannot be queried.
    """
    return objects.read(path) is not None if isinstance(path, Location) else path.is_file()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"duplicate key {next(name for name in names if names.count(name) > 1)!r}")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number
