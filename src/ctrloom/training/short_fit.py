"""Short training runs of fixed length, to compare many models cheaply."""

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from ctrloom import distributed
from ctrloom.config import Hyperparameters
from ctrloom.data.batches.batch import BatchSource
from ctrloom.progress import progress
from ctrloom.training.history import Epoch, History
from ctrloom.training.loop import (
    adam_of,
    batch_size_of,
    pick_device,
    run_epoch,
    seed_everything,
    steps_in_pass,
    validate_epoch,
)
from ctrloom.training.step import Step, matmul_precision


def fit_briefly(
    model: nn.Module, train: BatchSource, valid: BatchSource, settings: Hyperparameters, seed: int, title: str
) -> History:
    """Train for `epochs` epochs and keep the last weights; validation rows do not affect them.

    The learning rate is annealed to zero, as most of the improvement comes at the end of the decay.
    """
    valid = valid.to(pick_device(settings.device))
    epochs: list[Epoch] = []
    seconds, began = 0.0, time.perf_counter()
    for number, loss in enumerate(annealed_epochs(model, train, settings, seed, title), 1):
        seconds += time.perf_counter() - began
        epochs.append(validate_epoch(model, valid, number, loss))
        began = time.perf_counter()
    rate = train.total * len(epochs) / seconds
    return History(epochs=tuple(epochs), best=len(epochs), seconds=seconds, rows_per_second=rate)


def annealed_epochs(
    model: nn.Module,
    train: BatchSource,
    settings: Hyperparameters,
    seed: int,
    title: str,
    before: Callable[[], object] | None = None,
) -> Iterator[float]:
    """Train with cosine annealing to zero and yield the mean loss of each epoch.

    `before` is called before each step.
    """
    generator = seed_everything(seed)
    device = pick_device(settings.device)
    distributed.prepare_process(model.to(device))
    train = train.to(device)
    optimizer, batch_size = adam_of(model, settings, train.total), batch_size_of(settings, train.total)
    steps = settings.epochs * steps_in_pass(train.total, batch_size)
    cosine = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: (1 + math.cos(math.pi * n / steps)) / 2)
    step = Step(model, optimizer.step, [optimizer], before=before, after=cosine.step)
    with progress(title, settings.epochs * train.total) as advance:
        for number in range(1, settings.epochs + 1):
            with matmul_precision(settings.precision, device):
                loss = run_epoch(step, train, batch_size, generator, advance)
            advance(0, f"epoch {number}, loss {loss:.5f}")
            yield loss
