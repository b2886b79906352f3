"""Digests of what a command wrote, without what differs between any two runs: times, pages and logs."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

CLOCKS = ("seconds", "rows_per_second", "created", "promoted", "promotion", "generation", "code_version")
DONE_BEFORE = "skipped"  # files of a batch prediction that a killed one had finished
FILES_WITH_TIMES = {".html", ".md", ".txt", ".svg", ".csv", ".log"}
CHECKSUMS = ("sha256", "checksum", "bytes")  # of files that have times


def digest(folder: Path, pages: bool = False) -> dict[str, str]:
    """SHA-256 of every file in a folder by its name, and the names of temporary files.

    With `pages`, those that have times only in some scenarios are included.
    """
    return {
        path.relative_to(folder).as_posix(): _digest(path, folder)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "steps" not in path.relative_to(folder).parts and _counts(path, pages)
    }


def _counts(path: Path, pages: bool) -> bool:
    return path.suffix not in (".lock", *(() if pages else FILES_WITH_TIMES))


def _digest(path: Path, folder: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".json":
        with suppress(ValueError):
            text = json.dumps(_without_clocks(json.loads(content)), sort_keys=True)
            content = text.replace(str(folder), "").encode()
    return hashlib.sha256(content).hexdigest()


def _without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_clocks(inner)
            for key, inner in value.items()
            if not any(clock in key for clock in CLOCKS) and key not in (*CHECKSUMS, DONE_BEFORE)
        }
    return [_without_clocks(inner) for inner in value] if isinstance(value, list) else value
