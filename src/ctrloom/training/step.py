"""One step of training or search, captured as a CUDA graph on a GPU.

A step launches some hundred kernels. On a small batch, launching each one takes longer than running it; a
graph launches them all at once.
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
from ctrloom.nn.own_loss import HasOwnLoss, cross_entropy
from ctrloom.optim.rates import hold_rates

WARM = 3  # warm-up steps before capture, in which libraries initialize and kernels are compiled
GRAPHS = "CTRLOOM_CUDA_GRAPHS"  # 0 disables capture
Work = Callable[[], Tensor]


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    """Mean binary cross-entropy of a batch, weighted if rows have weights; a tensor on the device.

    With several processes, the losses sum to the mean over the global batch.
    """
    return _logloss(model(batch.ids_NC, batch.factors_NC), batch)


def training_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """What training minimises, which may be the model's own loss, and `loss_of`."""
    if not isinstance(model, HasOwnLoss):
        loss = loss_of(model, batch)
        return loss, loss
    own, logit_B = model.own_loss(
        batch.ids_NC, batch.factors_NC, batch.label_N, lambda x_B: _mean(x_B, batch)
    )
    return own, _logloss(logit_B.detach(), batch)


def _logloss(logit_B: Tensor, batch: Batch) -> Tensor:
    if batch.weight_N is None and distributed.is_single_process():
        return binary_cross_entropy_with_logits(logit_B, batch.label_N)
    return _mean(cross_entropy(logit_B, batch.label_N), batch)


def _mean(x_B: Tensor, batch: Batch) -> Tensor:
    """This process's share of the mean over the global batch, weighted if rows have weights."""
    if batch.weight_N is None:
        return x_B.sum() / batch.total
    return (x_B * batch.weight_N).sum() / distributed.all_reduce(batch.weight_N.sum()).clamp_min(1e-30)


def gradients(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of a batch's loss with respect to dense parameters, summed over all processes."""
    return distributed.all_reduce_bundled(torch.autograd.grad(loss, parameters))


@contextmanager
def matmul_precision(precision: str, device: torch.device) -> Iterator[None]:
    """Run matrix products and convolutions at the given precision.

    Autocast's cache is disabled: its casted weights would be stale in the next step. TF32 is enabled for
    convolutions only with `tf32`; `training.loop.pick_device` disables PyTorch's default.
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
    """Capture GPU work as a CUDA graph; returns a function that replays it on the same tensors."""
    gc.collect()  # finished trainings may still hold graphs, and with them much memory
    graph = torch.cuda.CUDAGraph()
    try:
        # Capture this thread only: another one may be copying rows to the device.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = work()
    except RuntimeError as error:
        error.add_note(f"this step cannot be captured as a CUDA graph; set {GRAPHS}=0 to disable capture")
        raise

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


class Step:
    """Forward and backward pass of a batch, followed by `update`; calling it returns the loss.

    On a GPU, steps on batches of one size are captured: after some warm-up steps, one is recorded on static
    tensors, and each later batch of that size is copied into them before the graph is replayed. `update` must
    therefore run on the device only. Decisions on the host belong in `before` and `after`, and reach the
    device through static tensors.

    Args:
        model: the model to train, on its device.
        update: runs the optimizers' steps.
        optimizers: the optimizers that `update` uses; capture stores their learning rates in tensors.
        before: called on the host before each step.
        after: called on the host after each step.
        extra_batches: batches of other rows; each step passes one to `update`.
        capture: captures work and returns a function that replays it; by default CUDA graphs, on a GPU with
            Triton.
    """

    def __init__(
        self,
        model: nn.Module,
        update: Callable[..., object],
        optimizers: Sequence[Optimizer],
        before: Callable[[], object] | None = None,
        after: Callable[[], object] | None = None,
        extra_batches: Iterator[Batch] | None = None,
        capture: Callable[[Work], Work] | None = None,
    ) -> None:
        self.model, self.update, self.extra_batches = model, update, extra_batches
        self.before, self.after = before, after
        on_gpu = any(parameter.is_cuda for parameter in model.parameters())
        if (
            on_gpu
            and distributed.is_single_process()
            and os.environ.get(GRAPHS) != "0"
            and not _synchronizes(model)
        ):
            capture = as_graph
        self.capture, self.warm = capture, 0
        self.sizes: tuple[int, ...] = ()
        self.batches = 0  # up to 2
        self.held: tuple[Batch, ...] = ()
        self.replay: Work | None = None
        if capture:
            for optimizer in optimizers:
                hold_rates(optimizer)

    def __call__(self, batch: Batch) -> Tensor:
        """Train on a batch; the returned loss is on the device and valid until the next call."""
        if self.before:
            self.before()
        loss = self._step(batch)
        if self.after:
            self.after()
        return loss

    def _step(self, batch: Batch) -> Tensor:
        batches = (batch,) if self.extra_batches is None else (batch, next(self.extra_batches))
        sizes = tuple(map(len, batches))
        if self.batches < 2:  # only the last batch of a pass differs, which may be the first one here
            self.sizes, self.batches = sizes, self.batches + 1
        if not self.capture or sizes != self.sizes:
            return self._work(*batches)
        if self.warm < WARM:
            self.warm += 1
            return self._on_side_stream(*batches)
        if self.replay is None:
            self.held = held = tuple(map(_copied, batches))
            self.replay = self.capture(lambda: self._work(*held))
        else:
            for here, new in zip(self.held, batches, strict=True):
                for to, value in zip(_parts(here), _parts(new), strict=True):
                    if to is not None and value is not None:
                        to.copy_(value)
        return self.replay()

    def _work(self, batch: Batch, *others: Batch) -> Tensor:
        objective, loss = training_loss(self.model, batch)
        self.model.zero_grad(set_to_none=True)
        objective.backward()
        distributed.all_reduce_gradients(self.model.parameters())
        self.update(*others)
        return loss.detach()

    def _on_side_stream(self, batch: Batch, *others: Batch) -> Tensor:
        """Run a warm-up step on a side stream, as capture requires (PyTorch's notes on CUDA graphs)."""
        if not batch.ids_NC.is_cuda:
            return self._work(batch, *others)
        here, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(here)
        with torch.cuda.stream(side):
            loss = self._work(batch, *others)
        here.wait_stream(side)
        return loss


def _synchronizes(model: nn.Module) -> bool:
    """True if a step needs a host sync (graph sampling, rows without a kernel), so it cannot be captured."""
    if any(isinstance(m, SharedCell) for m in model.modules()):
        return True
    touched = [m.weight for m in model.modules() if isinstance(m, CrossEmbedding)]
    touched += [m.weight for m in model.modules() if isinstance(m, FieldEmbedding) and m.sparse_gradients]
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
