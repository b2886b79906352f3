"""Shuffled passes over rows, whose position can be saved and restored."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ctrloom import distributed
from ctrloom.data.batches.batch import Batch, BatchSource
from ctrloom.progress import Advance
from ctrloom.training.checkpoints import Loop
from ctrloom.training.step import Step


def steps_in_pass(rows: int, batch_size: int) -> int:
    """Steps per pass; a single leftover row joins the last batch, as it has no batch statistics."""
    return max(1, -(-(rows - 1) // batch_size))


class Passes:
    """Shuffled batches, pass after pass; each covers every row once.

    A position is the state of the generator at the beginning of the pass, which determines the order, and the
    number of batches since. `generator` may also shuffle other rows meanwhile.

    Args:
        rows: the rows of a pass.
        batch: size of a batch, or the boundaries of all.
        generator: draws the order.
    """

    def __init__(self, rows: BatchSource, batch: int | Sequence[int], generator: torch.Generator) -> None:
        self.rows, self.generator = rows, generator
        if isinstance(batch, int):
            batch = [*range(0, steps_in_pass(rows.total, batch) * batch, batch), rows.total]
        self.bounds = batch
        self.began: Tensor | None = None  # state of the generator at the beginning of this pass
        self.done = 0  # batches of this pass
        self.loss = torch.zeros((), device=rows.device)  # sum over the rows of this pass, for `run_epoch`
        self.seconds = 0.0  # of `run_epoch`

    def batches(self) -> Iterator[Batch]:
        """The rest of the current pass; call `end` after it."""
        generator = self.generator
        if self.began is None:
            self.began = generator.get_state()
        else:
            generator = torch.Generator()
            generator.set_state(self.began)
        for batch in self.rows.shuffled(self.bounds[self.done :], generator):
            self.done += 1
            yield batch

    def end(self) -> None:
        """End the pass; the next batches are those of a new one."""
        self.began, self.done, self.loss = None, 0, torch.zeros_like(self.loss)

    def endless(self) -> Iterator[Batch]:
        """Batches without end."""
        while True:
            yield from self.batches()
            self.end()

    @property
    def rows_done(self) -> int:
        """Rows of the current pass."""
        return self.bounds[self.done]

    def state_dict(self) -> dict[str, Any]:
        """The position; the loss is that of every process."""
        (loss_R,) = distributed.all_gather(self.loss.detach()[None])
        return {"began": self.began, "done": self.done, "loss": loss_R, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a position."""
        number, _ = distributed.rank_and_world_size()
        began = state["began"]
        self.began, self.done = None if began is None else began.clone(), state["done"]
        self.loss, self.seconds = state["loss"][number].clone().to(self.loss.device), state["seconds"]


def run_epoch(step: Step, passes: Passes, loop: Loop, advance: Advance) -> float:
    """One shuffled pass, or the rest of it; returns the mean loss.

    The loss is accumulated on the device and read once at the end, so no step synchronizes with the host.
    """
    step.model.train()
    began = time.perf_counter()
    with loop.steps_of_pass():
        for batch in passes.batches():
            passes.loss += step(batch) * batch.total
            advance(batch.total)
            passes.seconds += time.perf_counter() - began
            loop.after_step()
            began = time.perf_counter()
    loss = float(distributed.all_reduce(passes.loss)) / passes.rows.total
    passes.seconds += time.perf_counter() - began
    passes.end()
    return loss
