"""Resume a stopped run after its finished steps, unless something they depend on changed."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from ctrloom import storage

BEGUN = ".begun"  # in the run directory from the start of a run until it succeeds


def begin(output: Path, request: object) -> bool:
    """Record the start of a run; True if a run of the same request was stopped here."""
    digest = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
    note = output / BEGUN
    stopped = note.is_file() and note.read_text(encoding="utf-8") == digest
    storage.write_text(note, digest)
    return stopped


def finish(output: Path) -> None:
    """Record that the run succeeded; the next one starts from scratch."""
    (output / BEGUN).unlink(missing_ok=True)


def states(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Name, size and modification time of every file, to detect changes without reading."""
    found = [(path, path.stat()) for path in sorted(paths) if path.is_file()]
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found]
