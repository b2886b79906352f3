"""Where a stage keeps its checkpoints, how much time they may take, and when they are deleted."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch

from ctrloom import distributed, storage
from ctrloom.config.environment import CHECKPOINTS
from ctrloom.config.version import code_digest
from ctrloom.data.dataset import Dataset
from ctrloom.progress import warn
from ctrloom.storage import Place, StorageError
from ctrloom.training.checkpoints.files import Checkpoints

SHARE = 0.015  # of the time of a stage that its checkpoints may take
OLD = 14 * 24 * 3600.0  # seconds after which those of stages that never resumed are deleted
_OUTER = "CTRLOOM_OUTER_CHECKPOINTS"  # place of the stage that this process or block is a part of


class StageCheckpoints:
    """The checkpoints of all loops of one stage, which run in the same order when it is started again."""

    def __init__(self, place: Place) -> None:
        self.place, self.loops = place, list[Checkpoints]()
        self.began, self.spent, self.failed = time.perf_counter(), 0.0, False

    def of_next_loop(self, key: str) -> Checkpoints:
        """The checkpoints of the next loop; `key` is a hash of its state before the first step."""
        self.loops.append(loop := Checkpoints(self.place / f"{len(self.loops):04}-{key[:16]}"))
        return loop

    def affords(self, seconds: float) -> bool:
        """Whether so much more time stays below the share."""
        elapsed = time.perf_counter() - self.began
        return not self.failed and self.spent + seconds <= SHARE * elapsed

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Add the time of the block; after a failure to write, nothing more is written."""
        began = time.perf_counter()
        try:
            yield
        except OSError as error:
            self._give_up(error)
        except StorageError as error:
            self._give_up(error)
        finally:
            self.spent += time.perf_counter() - began

    def finish(self) -> None:
        """Wait for uploads."""
        with self.counted():
            for loop in self.loops:
                loop.finish()

    def _give_up(self, error: Exception) -> None:
        self.failed = True
        warn(f"no more checkpoints, a stopped stage starts over: {error}")


class Stopwatch:
    """Seconds since it was made, and those that loops took before they were stopped, if restored since."""

    restored = 0.0

    def __init__(self) -> None:
        self.began, self.before = time.perf_counter(), Stopwatch.restored

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self.began + Stopwatch.restored - self.before


_current: ContextVar[StageCheckpoints | None] = ContextVar("checkpoints", default=None)


def current() -> StageCheckpoints | None:
    """The checkpoints of the stage that runs, if it keeps any."""
    return _current.get()


@contextmanager
def kept_by(stage: StageCheckpoints) -> Iterator[None]:
    """Loops of this block belong to a stage."""
    token = _current.set(stage)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def stage_checkpoints(
    dataset: Dataset, output: Path, *work: Any, outcomes: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Keep checkpoints of the loops in this block until it succeeds, or raises one of `outcomes`.

    `work` is JSON of everything that the loops depend on, except the data set, the code and the number of
    processes. Only with the same work is a stage resumed. In a block or a process that is part of another
    stage, that one keeps the checkpoints until it succeeds itself.
    """
    outer = os.environ.get(_OUTER)
    base = storage.place(outer) if outer else _base(dataset, output)
    alone = base == _next_to(output)
    if base is None:
        yield
        return
    stage = StageCheckpoints(base / _key(dataset, work))
    os.environ[_OUTER] = str(stage.place)
    try:
        try:
            with kept_by(stage):
                yield
        except outcomes:
            _end(stage, base, outer is None, alone)
            raise
        except BaseException:
            stage.finish()
            raise
        _end(stage, base, outer is None, alone)
    finally:
        os.environ.pop(_OUTER, None)
        if outer:
            os.environ[_OUTER] = outer


def _base(dataset: Dataset, output: Path) -> Place | None:
    """The folder of checkpoints that CTRLOOM_CHECKPOINTS names; None if it is `off`."""
    match os.environ.get(CHECKPOINTS, "output"):
        case "off":
            return None
        case "output":
            return _next_to(output)
        case "store":
            return dataset.directory.parent / "checkpoints"
        case place:
            return storage.place(place)


def _next_to(output: Path) -> Path:
    return output.parent / f".{output.name}.checkpoints"


def _key(dataset: Dataset, work: Any) -> str:
    depends = [
        dataset.data_fingerprint,
        dataset.schema.fingerprint,
        code_digest(),
        torch.__version__,
        distributed.rank_and_world_size()[1],
        work,
    ]
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:24]


def _end(stage: StageCheckpoints, base: Place, outermost: bool, alone: bool) -> None:
    """Delete the checkpoints of a stage that succeeded; of others in the same place, those that are old.

    If the place is for this output `alone`, others were made with other settings, and are deleted, too.
    """
    stage.finish()
    if not outermost or not distributed.is_rank_zero() or (isinstance(base, Path) and not base.is_dir()):
        return
    try:
        if alone:
            return storage.remove(base)
        storage.remove(stage.place)
        for name in storage.folders(base):
            if 0 < storage.last_change(base / name) < time.time() - OLD:
                storage.remove(base / name)
    except (OSError, StorageError) as error:
        warn(f"checkpoints were not deleted: {error}")
