"""Resume a stopped run after its finished steps, unless something they depend on changed."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from ctrloom import storage
from ctrloom.config.base import StrictModel
from ctrloom.config.errors import UserError
from ctrloom.progress import warn

BEGUN = ".begun"  # in the run directory from the start of a run until it succeeds


class Begun(StrictModel):
    """`.begun`: what a run was started with."""

    version: Literal[1] = 1
    request: str  # hash of everything but the inputs
    inputs: dict[str, tuple[int, int]]  # see `states`


def begin(output: Path, request: object, inputs: Mapping[str, tuple[int, int]] | None = None) -> bool:
    """Record the start of a run; True if a run of the same request and inputs was stopped here.

    If anything changed since, a warning says what, and that all steps run again.
    """
    digest = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
    now, note = Begun(request=digest, inputs=dict(inputs or {})), output / BEGUN
    changed = _changed(note, now) if note.is_file() else ""
    stopped = note.is_file() and not changed
    if changed:
        warn(f"{output}: since this run was stopped, {changed}; all steps run again")
    storage.write_record(note, now)
    return stopped


def _changed(note: Path, now: Begun) -> str:
    """What changed since the start of a stopped run; empty if nothing did."""
    try:
        before = storage.read_record(note, Begun)
    except UserError:
        return f"{note.name} was changed or damaged"
    names = {*before.inputs, *now.inputs}
    if changed := sorted(name for name in names if before.inputs.get(name) != now.inputs.get(name)):
        return f"{changed[0]} changed" + (f" and {len(changed) - 1} others" if len(changed) > 1 else "")
    return "" if before.request == now.request else "its configuration, the code or files in a store changed"


def finish(output: Path) -> None:
    """Record that the run succeeded; the next one starts from scratch."""
    (output / BEGUN).unlink(missing_ok=True)


def states(paths: Iterable[Path]) -> dict[str, tuple[int, int]]:
    """Size and modification time of every file, to detect changes without reading."""
    found = [(path, path.stat()) for path in sorted(paths) if path.is_file()]
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in found}
