"""Edits of one value in JSON, chosen by bytes: random bytes are hardly ever JSON."""

import json
from collections.abc import Iterator
from typing import Any

VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    2**70,
    0.5,
    1e308,
    float("nan"),
    "",
    "x",
    "../x",
    "/etc",
    "\0",
]
MOST = 8  # edits
VALUES += [[], {}, [[]], [None], {"a": 1}, "x" * 300]


def edited(seed: bytes, choice: bytes) -> bytes:
    """`seed` with up to `MOST` values replaced; the first bytes of `choice` say which, and by what."""
    value = json.loads(seed)
    for at in range(0, min(max(len(choice) - 2, 1), 3 * MOST), 3):
        first, second, third = choice[at : at + 3].ljust(3, b"\0")
        places = list(_places(value))
        path = places[(first * 256 + second) % len(places)]
        value = _replaced(value, path, VALUES[third % len(VALUES)])
    return json.dumps(value).encode()


def _places(value: Any) -> Iterator[tuple[Any, ...]]:
    yield ()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from ((key, *path) for path in _places(inner))


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy
