"""Collectives for data-parallel training.

With a single process, each function returns its input. Otherwise all processes must call the same functions
in the same order, each with its shard.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUNDLED = 2**18  # maximum numel of a tensor that is reduced in one bundle with others
STRIDE = 0x5851F42D4C957F2D  # between the seeds of consecutive ranks


class PeerError(ConnectionError):
    """Another process of the training has died."""


def is_single_process() -> bool:
    """Whether there is no process group."""
    return not (dist.is_available() and dist.is_initialized())


def rank_and_world_size() -> tuple[int, int]:
    """The rank of this process and the number of processes."""
    return (0, 1) if is_single_process() else (dist.get_rank(), dist.get_world_size())


def is_rank_zero() -> bool:
    """Whether this process writes the results."""
    return rank_and_world_size()[0] == 0


def all_reduce(x: Tensor) -> Tensor:
    """The sum over all processes; differentiable."""
    if is_single_process():
        return x
    summed: Tensor = _Sum.apply(x)
    return summed


def all_gather(*parts_N: Tensor) -> list[Tensor]:
    """The rows of all processes, concatenated in rank order; all arguments must have equal length."""
    if is_single_process():
        return list(parts_N)
    size = torch.tensor([len(parts_N[0])], device=parts_N[0].device)
    sizes = [torch.empty_like(size) for _ in range(rank_and_world_size()[1])]
    with _peer_errors():
        dist.all_gather(sizes, size)
        lengths = [int(each) for each in sizes]
        whole = []
        for part_N in parts_N:
            padded = part_N.new_zeros(max(lengths), *part_N.shape[1:])
            padded[: len(part_N)] = part_N
            every = [torch.empty_like(padded) for _ in lengths]
            dist.all_gather(every, padded)
            whole.append(torch.cat([each[:length] for each, length in zip(every, lengths, strict=True)]))
    return whole


def all_reduce_gradients(parameters: Iterable[Tensor]) -> None:
    """Sum the gradients of all processes; sparse ones are concatenated and may repeat rows."""
    if is_single_process():
        return
    touched = [parameter for parameter in parameters if parameter.grad is not None]
    dense = [parameter for parameter in touched if not _grad(parameter).is_sparse]
    for parameter, grad in zip(dense, all_reduce_bundled([_grad(p) for p in dense]), strict=True):
        parameter.grad = grad
    for parameter in touched:
        if _grad(parameter).is_sparse:
            row_N, grad_ND = all_gather(_grad(parameter)._indices()[0], _grad(parameter)._values())
            parameter.grad = torch.sparse_coo_tensor(
                row_N[None], grad_ND, parameter.shape, check_invariants=False
            )


def all_reduce_bundled(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The sums of dense tensors over all processes; may overwrite its inputs."""
    if is_single_process():
        return list(tensors)
    sums = [tensor.contiguous() for tensor in tensors]
    bundles: dict[Any, list[int]] = defaultdict(list)  # same dtype and device; large tensors on their own
    for i, each in enumerate(sums):
        bundles[each.dtype, each.device, i if each.numel() > BUNDLED else None].append(i)
    with _peer_errors():
        for bundle in bundles.values():
            flat = torch.cat([sums[i].flatten() for i in bundle]) if len(bundle) > 1 else sums[bundle[0]]
            dist.all_reduce(flat)
            for i, part in zip(bundle, flat.flatten().split([sums[i].numel() for i in bundle]), strict=True):
                sums[i] = part.view_as(sums[i])
    return sums


def prepare_process(model: nn.Module) -> None:
    """Call before training: broadcasts the weights of rank 0 and gives each process its own random seed."""
    if not is_single_process():
        broadcast_weights(model)
        torch.manual_seed((torch.initial_seed() + rank_and_world_size()[0] * STRIDE) % 2**63)


def broadcast_weights(model: nn.Module) -> None:
    """Broadcast the weights of rank 0 to all processes."""
    if not is_single_process():
        with _peer_errors():
            for parameter in model.parameters():
                dist.broadcast(parameter.data, 0)


def broadcast_floats(values: Sequence[float]) -> list[float]:
    """The values of rank 0, so that all processes take the same decisions."""
    if is_single_process():
        return list(values)
    sent = torch.tensor(values, dtype=torch.float64)
    with _peer_errors():
        dist.broadcast(sent, 0)
    received: list[float] = sent.tolist()
    return received


class _Sum(torch.autograd.Function):
    """Differentiable all-reduce: every process uses the sum, so its gradient is summed over them too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _sum(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return _sum(grads[0])


def _sum(x: Tensor) -> Tensor:
    x = x.detach().clone(memory_format=torch.contiguous_format)
    with _peer_errors():
        dist.all_reduce(x)
    return x


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None, "parameter has no gradient"
    return parameter.grad


@contextmanager
def _peer_errors() -> Iterator[None]:
    """Raise PeerError if a collective fails."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError(
            "another process of this training died without an error message; it may have run out of memory"
        ) from error
