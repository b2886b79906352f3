"""Ways to damage files, and what must come of it: an error of one line, or the same result."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ctrloom.config.errors import UserError


def flips(path: Path, count: int, seed: int = 0, last: bool = False) -> Iterator[str]:
    """Flip a bit of each of `count` random (or the last) bytes of a file, or of all; restores it."""
    content, rng = path.read_bytes(), random.Random(seed)
    places: Sequence[int] = range(len(content))
    if len(content) > count:
        places = places[-count:] if last else sorted(rng.sample(places, count))
    try:
        for place in places:
            bit = 1 << rng.randrange(8)
            path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            yield f"{path.name}, byte {place}, bit {bit}"
    finally:
        path.write_bytes(content)


def outcome(read: Callable[[], object], folder: Path) -> object:
    """What `read` returns, or None where it raises an error of one line that names a file of the folder."""
    try:
        return read()
    except UserError as error:
        said = str(error)
    assert str(folder) in said, said
    assert "\n" not in said, said
    return None


def undetected(read: Callable[[], object], folder: Path, count: int, last: bool = False) -> int:
    """Flip `count` random (or the last) bytes of every file of a folder; how many changed nothing."""
    truth, harmless = read(), 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for what in flips(path, count, last=last):
            found = outcome(read, folder)
            assert found is None or found == truth, what
            harmless += found is not None
    return harmless
