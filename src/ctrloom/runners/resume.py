"""Going on where a run was stopped: with the steps it finished, if nothing they were made from changed."""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ctrloom import storage

BEGUN = ".begun"  # in the run directory from a run's beginning to its good end


def begin(output: Path, request: object) -> bool:
    """Note that a run of `request` began; whether one of the very same request was stopped here."""
    digest = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
    note = output / BEGUN
    stopped = note.is_file() and note.read_text(encoding="utf-8") == digest
    storage.write_text(note, digest)
    return stopped


def finish(output: Path) -> None:
    """Note that the run came to its good end; the next one starts anew."""
    (output / BEGUN).unlink(missing_ok=True)


def states(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of change of every file: what tells a changed one without reading it."""
    found = [(path, path.stat()) for path in sorted(paths) if path.is_file()]
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found]


@cache
def code() -> str:
    """Hash of the library's code, which a version does not tell apart while somebody works on it."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        digest.update(f"{path.relative_to(package)}\0{storage.sha256(path)}\0".encode())
    return digest.hexdigest()
