"""KFP's cache of the finished steps of a run, which reuses a step only if all its files are intact."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from ctrloom import storage
from ctrloom.config.base import StrictModel
from ctrloom.config.errors import UserError
from ctrloom.progress import warn
from ctrloom.stages.job_records import FAILURE
from ctrloom.storage import StoredFile

CACHE, RECORD = ".kfp_cache", ".sums"  # KFP's folder within that of all steps, and the ending of our records


class FinishedStep(StrictModel):
    """Checksums of what KFP knows of a step, and of the files that the step wrote."""

    version: Literal[1] = 1
    files: tuple[StoredFile, ...]


@contextmanager
def verified_steps(steps: Path) -> Iterator[list[Path]]:
    """Verify finished steps before they are reused; `steps` is the folder of all of them.

    A step with a damaged file runs again, and so do those that depend on it. So does a job of a comparison
    that recorded a failure, since something on this machine may have been fixed; yields these records.
    """
    from kfp.local import cache

    failures: list[Path] = []

    class VerifiedCache(cache.LocalCache):
        def put(self, key: str, outputs: dict[str, Any]) -> None:
            written = [*_files(outputs, steps)]
            if recorded := [path for path in written if path.name == FAILURE]:
                failures.extend(recorded)
                return
            super().put(key, outputs)
            entry = Path(self.cache_root, f"{key}.json")
            files = [entry, *written]
            step = FinishedStep(files=tuple(StoredFile.at(path, steps) for path in files))
            storage.write_record(entry.with_suffix(RECORD), step)

        def get(self, key: str) -> dict[str, Any] | None:
            return super().get(key) if _is_intact(Path(self.cache_root, f"{key}{RECORD}"), steps) else None

    before = cache.LocalCache
    cache.LocalCache = VerifiedCache
    cache.reset_local_cache_singleton()
    try:
        yield failures
    finally:
        cache.LocalCache = before
        cache.reset_local_cache_singleton()


def forget(step: Path, steps: Path) -> None:
    """Delete the folder of a finished step, which then runs again."""
    for record in steps.glob(f"{CACHE}/*{RECORD}"):
        with suppress(UserError):  # a damaged record is not used either
            files = storage.read_record(record, FinishedStep).files
            if any((steps / file.path).is_relative_to(step) for file in files):
                record.unlink()
    shutil.rmtree(step)


def _files(outputs: Mapping[str, Any], steps: Path) -> Iterator[Path]:
    """The files of all artifacts."""
    for output in outputs.values():
        for artifact in output if isinstance(output, list) else [output]:
            path = Path(str(getattr(artifact, "uri", "")))
            if path.is_relative_to(steps):
                yield from sorted(each for each in (path, *path.rglob("*")) if each.is_file())


def _is_intact(record: Path, steps: Path) -> bool:
    if not record.is_file():
        return False
    try:
        for file in storage.read_record(record, FinishedStep).files:
            storage.verify_file(steps, file, record.name)
    except UserError as error:
        warn(f"{error}; this step runs again")
        return False
    return True
