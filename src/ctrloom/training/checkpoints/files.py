"""The checkpoint files of one training loop, in a folder or under a URL.

<place>/<number>.safetensors   tensors
        <number>.json          everything else, and checksums of both files; written last
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ctrloom import distributed, storage
from ctrloom.config.base import StrictModel
from ctrloom.config.environment import CHECKPOINTS
from ctrloom.config.errors import UserError
from ctrloom.progress import warn
from ctrloom.storage import Location, Place, StorageError, one_line
from ctrloom.training.checkpoints.state import as_safetensors, decoded, encoded

KEPT = 2  # checkpoints of a loop: if the last one is damaged, the one before is used
_NAME = re.compile(r"(\d+)\.(?:json|safetensors)")


class CheckpointRecord(StrictModel):
    """`<number>.json`: the state in JSON, and the checksum of its tensors."""

    version: Literal[1] = 1
    state: Any
    sha256: str


class Checkpoints:
    """Saves states of one loop and loads the last one that is whole.

    A checkpoint in an object store is written to a temporary file, and uploaded in the background.
    """

    def __init__(self, place: Place) -> None:
        self.place, self.last = place, 0
        self._uploader: ThreadPoolExecutor | None = None
        self._upload: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is still being uploaded."""
        return self._upload is not None and not self._upload.done()

    def save(self, state: Any, keep: int = KEPT) -> None:
        """Write a checkpoint, then delete all but the last `keep`.

        Raises:
            StorageError: this one or the one before cannot be written.
            OSError: the same, of local files.
        """
        self.finish()
        self.last += 1
        tree, tensors = encoded(state)
        if isinstance(self.place, Location):
            descriptor, name = tempfile.mkstemp(suffix=".safetensors")
            os.close(descriptor)
            file = Path(name)
        else:
            self.place.mkdir(parents=True, exist_ok=True)
            file = self.place / f"{self.last}.safetensors"
        try:
            about = CheckpointRecord(state=tree, sha256=_write(file, tensors))
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        if isinstance(self.place, Location):
            self._uploader = self._uploader or ThreadPoolExecutor(1, "ctrloom-checkpoint")
            self._upload = self._uploader.submit(self._uploaded, file, about, self.last, keep)
        else:
            self._complete(about, self.last, keep)

    def load(self) -> Any | None:
        """The last state that is whole, the same in all processes; None if there is none."""
        for number in self._numbers():
            state = self._read(number)
            if _all_processes(state is not None):
                self.last = number
                return state
            if state is not None:
                warn(f"{self.place}: other processes cannot read it; set {CHECKPOINTS} to a place for all")
        return None

    def finish(self) -> None:
        """Wait for the upload of the last checkpoint.

        Raises:
            StorageError: it cannot be written.
        """
        if self._upload is not None:
            upload, self._upload = self._upload, None
            upload.result()

    def _uploaded(self, file: Path, about: CheckpointRecord, number: int, keep: int) -> None:
        try:
            storage.put(file, self.place / f"{number}.safetensors")
        finally:
            file.unlink(missing_ok=True)
        self._complete(about, number, keep)

    def _complete(self, about: CheckpointRecord, number: int, keep: int) -> None:
        """Write the JSON file, which completes a checkpoint."""
        storage.write_record(self.place / f"{number}.json", about)
        for name in storage.files(self.place):
            if (match := _NAME.fullmatch(name)) and int(match[1]) <= number - keep:
                storage.remove(self.place / name)

    def _numbers(self) -> list[int]:
        """Numbers of the checkpoints, newest first, as the first process sees them."""
        found = []
        if distributed.is_rank_zero():
            names = storage.files(self.place)
            found = sorted({int(match[1]) for name in names if (match := _NAME.fullmatch(name))})
        (count,) = distributed.broadcast_floats([float(len(found))])
        numbers = distributed.broadcast_floats([float(n) for n in found] or [0.0] * int(count))
        return [int(number) for number in reversed(numbers[: int(count)])]

    def _read(self, number: int) -> Any | None:
        """A state; None, with a warning, unless its files are what was written."""
        record = self.place / f"{number}.json"
        try:
            if not storage.exists(record):
                raise StorageError(f"{record}: is missing")
            about = storage.read_record(record, CheckpointRecord)
            with _local(self.place / f"{number}.safetensors") as tensors:
                if storage.sha256(tensors) != about.sha256:
                    raise StorageError(f"{self.place / tensors.name}: does not match its checksum")
                try:
                    return decoded(about.state, load_file(tensors))
                except (ValueError, SafetensorError) as error:
                    raise StorageError(f"{record}: {one_line(error)}") from error
        except (OSError, UserError) as error:
            warn(f"a checkpoint is incomplete or damaged, and not used: {error}")
            return None


def _write(file: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors in the safetensors format; returns the checksum, which is computed meanwhile."""
    digest = hashlib.sha256()
    with open(file, "wb") as stream, ThreadPoolExecutor(1) as hashing:
        for piece in as_safetensors(tensors):
            hashing.submit(digest.update, piece)
            stream.write(piece)
    return digest.hexdigest()


@contextmanager
def _local(place: Place) -> Iterator[Path]:
    """A local file with the content of a place."""
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory() as folder:
        storage.get(storage.find(place), to := Path(folder) / place.name)
        yield to


def _all_processes(condition: bool) -> bool:
    agreed = distributed.all_reduce(torch.tensor(float(condition)))
    return int(agreed) == distributed.rank_and_world_size()[1]
