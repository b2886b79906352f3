"""One step of a training or a search, which on a GPU is captured as a CUDA graph.

A step launches some hundred kernels, each of which takes the host longer than the GPU takes for its work on a
small batch. A graph launches them all at once.
"""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Optimizer

from ctrloom import distributed, kernels
from ctrloom.data.batches.batch import Batch
from ctrloom.nn.cells import SharedCell
from ctrloom.nn.cross_features import CrossEmbedding
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.optim.rates import hold_rates

WARM = 3  # steps before one is captured: libraries set themselves up, and kernels are compiled
GRAPHS = "CTRLOOM_CUDA_GRAPHS"  # 0: no step is captured
Work = Callable[[], Tensor]


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    """Mean binary cross-entropy of a batch, weighted where rows have weights; a tensor on the device.

    Of several processes, the losses add up to the mean over the batch of all.
    """
    logit_B = model(batch.ids_NC, batch.factors_NC)
    if batch.weight_N is None and distributed.is_single_process():
        return binary_cross_entropy_with_logits(logit_B, batch.label_N)
    total = binary_cross_entropy_with_logits(logit_B, batch.label_N, batch.weight_N, reduction="sum")
    if batch.weight_N is None:
        return total / batch.total
    return total / distributed.all_reduce(batch.weight_N.sum()).clamp_min(1e-12)


def gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Of a batch's loss by some dense parameters, added up over the processes."""
    return distributed.all_reduce_bundled(torch.autograd.grad(loss, parameters))


@contextmanager
def products_in(precision: str, device: torch.device) -> Iterator[None]:
    """Matrix products at that precision; no autocast's cache, for it would outlive the weights of a step.

    Convolutions too: PyTorch rounds those to TF32 unless it is told not to (see `training.loop.pick_device`).
    """
    before, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    if precision == "tf32" and device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
    try:
        with torch.autocast(device.type, torch.bfloat16, precision == "bfloat16", cache_enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = convolutions


def as_graph(work: Work) -> Work:
    """Work on the GPU, recorded once; what is returned does it again, with the tensors it had."""
    gc.collect()  # trainings that are over may hold graphs, and with them much memory
    graph = torch.cuda.CUDAGraph()
    try:
        # Of this thread alone: another may be reading rows and copying them to the device.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = work()
    except RuntimeError as error:
        error.add_note(f"this step cannot be captured; set {GRAPHS}=0 to train without CUDA graphs")
        raise

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


class Step:
    """Forward and backward of a batch, and what `move` makes of the gradients; called, it gives the loss.

    On a GPU the steps on batches of one size are captured: after a few, one is recorded with the batch in
    tensors that stay, and each later batch of that size is copied there and the record replayed. So `move`
    works on the device alone. What the host decides from step to step it does in `before` and `after`, and it
    reaches the device in tensors that stay.

    Args:
        model: what is trained, on its device.
        move: does the optimizers' steps.
        optimizers: those that `move` uses; a captured step has their learning rates in tensors.
        before: on the host, ahead of each step.
        after: on the host, behind each step.
        also: batches of other rows, of which each step gives one to `move`.
        record: captures work and gives what does it again; by default CUDA graphs, on a GPU with Triton.
    """

    def __init__(
        self,
        model: nn.Module,
        move: Callable[..., object],
        optimizers: Sequence[Optimizer],
        before: Callable[[], object] | None = None,
        after: Callable[[], object] | None = None,
        also: Iterator[Batch] | None = None,
        record: Callable[[Work], Work] | None = None,
    ) -> None:
        self.model, self.move, self.before, self.after, self.also = model, move, before, after, also
        on_gpu = any(parameter.is_cuda for parameter in model.parameters())
        if on_gpu and distributed.is_single_process() and os.environ.get(GRAPHS) != "0" and not _waits(model):
            record = as_graph
        self.record, self.warm = record, 0
        self.sizes: tuple[int, ...] = ()
        self.held: tuple[Batch, ...] = ()
        self.replay: Work | None = None
        if record:
            for optimizer in optimizers:
                hold_rates(optimizer)

    def __call__(self, batch: Batch) -> Tensor:
        """Train on a batch; the loss is on the device, until the next call."""
        if self.before:
            self.before()
        loss = self._step(batch)
        if self.after:
            self.after()
        return loss

    def _step(self, batch: Batch) -> Tensor:
        batches = (batch,) if self.also is None else (batch, next(self.also))
        sizes = tuple(map(len, batches))
        self.sizes = self.sizes or sizes  # those of the first: only the last of a pass has another
        if not self.record or sizes != self.sizes:
            return self._work(*batches)
        if self.warm < WARM:
            self.warm += 1
            return self._aside(*batches)
        if self.replay is None:
            self.held = held = tuple(map(_copied, batches))
            self.replay = self.record(lambda: self._work(*held))
        else:
            for here, new in zip(self.held, batches, strict=True):
                for to, value in zip(_parts(here), _parts(new), strict=True):
                    if to is not None and value is not None:
                        to.copy_(value)
        return self.replay()

    def _work(self, batch: Batch, *others: Batch) -> Tensor:
        loss = loss_of(self.model, batch)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        distributed.all_reduce_gradients(self.model.parameters())
        self.move(*others)
        return loss.detach()

    def _aside(self, batch: Batch, *others: Batch) -> Tensor:
        """On a stream of its own, where what is to be captured must have run (PyTorch's notes on graphs)."""
        if not batch.ids_NC.is_cuda:
            return self._work(batch, *others)
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            loss = self._work(batch, *others)
        here.wait_stream(aside)
        return loss


def _waits(model: nn.Module) -> bool:
    """Whether the host has a part in a step: counts touched rows that no kernel moves, or draws a graph."""
    if any(isinstance(m, SharedCell) for m in model.modules()):
        return True
    touched = [m.weight for m in model.modules() if isinstance(m, CrossEmbedding)]
    touched += [m.weight for m in model.modules() if isinstance(m, FieldEmbedding) and m.row_wise]
    tables = [table for table in touched if table.dim() == 2]
    if not tables:
        return False
    if not kernels.usable(tables[0]):
        return True
    from ctrloom.kernels.embedding import fits

    return not all(fits(table) for table in tables)


def _parts(batch: Batch) -> tuple[Tensor | None, ...]:
    return batch.ids_NC, batch.label_N, batch.factors_NC, batch.weight_N


def _copied(batch: Batch) -> Batch:
    return Batch(*(None if x is None else x.clone() for x in _parts(batch)))  # type: ignore[arg-type]
