"""Short training runs of fixed length, to compare many models cheaply."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from ctrloom import distributed
from ctrloom.config import Hyperparameters
from ctrloom.data.batches.batch import BatchSource
from ctrloom.progress import progress
from ctrloom.training.checkpoints import Loop, Variables
from ctrloom.training.history import History
from ctrloom.training.loop import adam_of, batch_size_of, pick_device, seed_everything, validate_epoch
from ctrloom.training.passes import Passes, run_epoch, steps_in_pass
from ctrloom.training.step import Step, matmul_precision


def fit_briefly(
    model: nn.Module, train: BatchSource, valid: BatchSource, settings: Hyperparameters, seed: int, title: str
) -> History:
    """Train for `epochs` epochs and keep the last weights; validation rows do not affect them.

    The learning rate is annealed to zero, as most of the improvement comes at the end of the decay.
    """
    valid = valid.to(pick_device(settings.device))
    at = Variables(epochs=[], seconds=0.0)
    for number, loss, seconds in annealed_epochs(model, train, settings, seed, title, at=at):
        at.epochs.append(validate_epoch(model, valid, number, loss))
        at.seconds = seconds
    rate = train.total * len(at.epochs) / at.seconds
    return History(epochs=tuple(at.epochs), best=len(at.epochs), seconds=at.seconds, rows_per_second=rate)


def annealed_epochs(
    model: nn.Module,
    train: BatchSource,
    settings: Hyperparameters,
    seed: int,
    title: str,
    before: Callable[[], object] | None = None,
    **parts: Any,
) -> Iterator[tuple[int, float, float]]:
    """Train with cosine annealing to zero; yields number, mean loss and seconds so far after each epoch.

    `before` is called before each step. `parts` are what else changes, for checkpoints; a training that
    continues from one leaves out the epochs that were finished.
    """
    generator = seed_everything(seed)
    device = pick_device(settings.device)
    distributed.prepare_process(model.to(device))
    train = train.to(device)
    optimizer, batch_size = adam_of(model, settings, train.total), batch_size_of(settings, train.total)
    steps = settings.epochs * steps_in_pass(train.total, batch_size)
    cosine = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: (1 + math.cos(math.pi * n / steps)) / 2)
    step = Step(model, optimizer.step, [optimizer], before=before, after=cosine.step)
    passes, done = Passes(train, batch_size, generator), Variables(epochs=0)
    saved = {"model": model, "optimizer": optimizer, "cosine": cosine, "generator": generator}
    loop = Loop(title, **saved, passes=passes, done=done, **parts)
    rows_done = done.epochs * train.total + passes.rows_done
    with loop.running(), progress(title, settings.epochs * train.total, done=rows_done) as advance:
        for number in range(done.epochs + 1, settings.epochs + 1):
            with matmul_precision(settings.precision, device):
                loss = run_epoch(step, passes, loop, advance)
            advance(0, f"epoch {number}, loss {loss:.5f}")
            yield number, loss, passes.seconds
            done.epochs = number
        loop.finish("model", "done", *parts)
