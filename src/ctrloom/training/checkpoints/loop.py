"""A training loop whose whole state can be saved after every step, and restored when it starts again."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from ctrloom import distributed
from ctrloom.interruption import Stop, deferred
from ctrloom.optim.rates import restore
from ctrloom.progress import note
from ctrloom.training.checkpoints.files import KEPT, Checkpoints
from ctrloom.training.checkpoints.stage import Stopwatch, current
from ctrloom.training.checkpoints.state import as_safetensors, encoded

SPACING = 30.0  # seconds between checkpoints of a loop, if they are cheap enough
AGAIN = 1.0  # seconds after which the time is checked again; several processes must agree
LATENCY, SPEED = 0.005, 3e8  # seconds, and bytes per second: the cost of the first checkpoint
GROWTH = 4  # of a state: the optimizer's moments, and the best weights so far


class Variables(SimpleNamespace):
    """The variables of a loop, by name."""

    def state_dict(self) -> dict[str, Any]:
        """The values."""
        return vars(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the values."""
        vars(self).update(state)


class Loop:
    """Saves and restores `parts`, which are all that changes in a training loop, and torch's random numbers.

    A part has `state_dict` and `load_state_dict`, or is a generator. They are restored when the loop is made;
    `finished` is true if the loop had come to its end. Outside of a stage that keeps checkpoints, nothing is
    saved. With several processes, all must call the same methods.
    """

    def __init__(self, title: str, **parts: Any) -> None:
        self.parts, self.finished = {**parts, "random": _RandomNumbers()}, False
        self.title, self.stopwatch = title, Stopwatch()
        self.files: Checkpoints | None = None
        self.stop = Stop()
        self.stage = current()
        if self.stage is None:
            return
        with self.stage.counted():
            tree, tensors = encoded(self.state())
            self.cost = LATENCY + GROWTH * sum(tensor.nbytes for tensor in tensors.values()) / SPEED
            self.files = self.stage.of_next_loop(_digest(title, tree, tensors))
            if saved := self.files.load():
                self._restore(saved)
        now = time.perf_counter()
        self.save_at, self.asked, self.steps, self.steps_left = now + SPACING, now, 1, 1
        self.pass_ended, self.pause = now, 0.0  # seconds between the last two passes, such as of validation

    @contextmanager
    def running(self) -> Iterator[None]:
        """The block of all passes and of `finish`: a signal between passes waits for a checkpoint, too."""
        if self.files is None:
            yield
            return
        with deferred() as self.stop:
            yield
            self._save_if_stopping()

    @contextmanager
    def steps_of_pass(self) -> Iterator[None]:
        """A block that calls `after_step`: if a signal asks to stop, that saves a checkpoint and stops."""
        if self.files is None:
            yield
            return
        self.pause = time.perf_counter() - self.pass_ended
        with deferred() as self.stop:
            self._save_if_stopping()
            yield
            if not distributed.is_single_process():
                self._save_if_all_agree(self.pause)
            elif self._due(self.pause):
                self._save()
        self.pass_ended = time.perf_counter()

    def after_step(self) -> None:
        """Save a checkpoint if it is time.

        Raises:
            Stopped: a signal asked to stop.
        """
        if self.files is None:
            return
        if distributed.is_single_process():
            if self.stop.requested or self._due():
                self._save()
                self._stop_if(self.stop.requested)
            return
        self.steps_left -= 1
        if self.steps_left == 0:
            self._save_if_all_agree()

    def finish(self, *names: str) -> None:
        """Save the named parts, which are what the result of the loop needs, instead of all."""
        if self.files is None or self.finished:
            return
        assert self.stage
        late = self.stop.requested or time.perf_counter() >= self.save_at
        (wanted,) = distributed.broadcast_floats([float(late or self.stage.affords(self.cost))])
        if wanted:
            self._save(*names)
        self.finished = True

    def state(self, *names: str) -> dict[str, Any]:
        """The state of the named parts, or of all; tensors are not copied."""
        return {name: _state_of(self.parts[name]) for name in names or self.parts}

    def _due(self, ahead: float = 0.0) -> bool:
        """Whether it is time for a checkpoint, now or in some seconds; if it costs too much, not yet."""
        assert self.stage
        assert self.files
        if time.perf_counter() + ahead < self.save_at:
            return False
        if not self.files.busy and self.stage.affords(self.cost):
            return True
        self.save_at = time.perf_counter() + AGAIN
        return False

    def _save_if_stopping(self) -> None:
        """Between passes; several processes agree after the next steps."""
        if self.stop.requested and not self.finished and distributed.is_single_process():
            self._save()
            self._stop_if(True)

    def _save_if_all_agree(self, ahead: float = 0.0) -> None:
        """The first process decides, and after how many steps it is asked again; any may have to stop."""
        now = time.perf_counter()
        rate = self.steps / max(now - self.asked, 1e-6)
        steps = max(1, min(10 * self.steps, round(rate * AGAIN)))
        first = float(distributed.is_rank_zero())
        asked = torch.tensor(
            [float(self.stop.requested), first * self._due(ahead), first * steps], dtype=torch.float64
        )
        stops, due, count = distributed.all_reduce(asked).tolist()
        if stops or due:
            self._save()
            self._stop_if(bool(stops))
        self.asked, self.steps, self.steps_left = time.perf_counter(), int(count), int(count)

    def _stop_if(self, stops: bool) -> None:
        if stops:
            assert self.files
            self.files.finish()
            self.stop.now()

    def _save(self, *names: str) -> None:
        """Save the named parts at the end of the loop, or all."""
        assert self.stage
        assert self.files
        began, finished = time.perf_counter(), bool(names)
        with self.stage.counted():
            parts = self.state(*names, "random") if finished else self.state()
            saved = {"finished": finished, "seconds": self.stopwatch.seconds, "parts": parts}
            if distributed.is_rank_zero() and not self.stage.failed:
                self.files.save(saved, 1 if finished else KEPT)
        now = time.perf_counter()
        self.cost, self.save_at = now - began, now + SPACING

    def _restore(self, saved: dict[str, Any]) -> None:
        for name, state in saved["parts"].items():
            _restore(self.parts[name], state)
        self.finished = saved["finished"]
        Stopwatch.restored += saved["seconds"]
        note(f"{self.title}: {'already done' if self.finished else 'continues from a checkpoint'}")


class _RandomNumbers:
    """Torch's global generators, of which every process has its own."""

    def state_dict(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_initialized():
            states["cuda"] = torch.cuda.get_rng_state()
        return {name: distributed.all_gather(state[None])[0] for name, state in states.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        number, _ = distributed.rank_and_world_size()
        torch.set_rng_state(state["cpu"][number].clone())
        if "cuda" in state and torch.cuda.is_initialized():
            torch.cuda.set_rng_state(state["cuda"][number].clone())


def _state_of(part: Any) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state()
    if isinstance(part, np.random.Generator):
        return part.bit_generator.state
    return part.state_dict()


def _restore(part: Any, state: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(state.clone())
    elif isinstance(part, np.random.Generator):
        part.bit_generator.state = state
    elif isinstance(part, Optimizer):
        restore(part, state)
    else:
        part.load_state_dict(state)


def _digest(title: str, tree: Any, tensors: dict[str, Tensor]) -> str:
    """Hash of the state before the first step."""
    devices = sorted({tensor.device.type for tensor in tensors.values()})
    digest = hashlib.sha256(json.dumps([title, devices, tree], sort_keys=True).encode())
    for piece in as_safetensors(tensors):
        digest.update(piece)
    return digest.hexdigest()
