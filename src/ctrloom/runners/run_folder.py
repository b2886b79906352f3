"""The results in a run directory: removed when another run begins, copied from the steps when it ends."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from ctrloom import storage
from ctrloom.config.errors import UserError

MARKS = ("log.txt", "jobs", "studies")  # one of them is in every folder that runs and comparisons wrote


class RunFolderError(UserError):
    """The run directory has files that no run wrote."""


def remove_results(output: Path, names: Iterable[str], inputs: Iterable[Path]) -> None:
    """Remove results of other runs.

    Raises:
        RunFolderError: no run wrote them.
        StorageError: an input is among them.
    """
    there = [output / name for name in names if (output / name).exists()]
    if there and not any((output / mark).exists() for mark in MARKS):
        raise RunFolderError(
            f"{there[0]}: exists, but no run wrote {output}, so that it is not deleted; "
            "choose another --output"
        )
    inputs = list(inputs)
    for place in there:
        storage.require_apart(place, inputs)
    for place in there:
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink()


def copy_results(output: Path, sources: Mapping[str, Path]) -> None:
    """Copy results, each whole or not at all.

    Raises:
        StorageError: one cannot be written.
    """
    for name, source in sources.items():
        if source.is_dir():
            with storage.atomic_directory(output / name, "*") as temporary:
                shutil.copytree(source, temporary, dirs_exist_ok=True)
        else:
            storage.put(source, output / name)
