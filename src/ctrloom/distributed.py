"""The processes that train one model together, and what they tell each other.

A process that is alone gets back what it gave. All processes call the same functions in the same order, each
with what it has of the whole.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUNDLED = 2**18  # numbers in a tensor at most, for it to travel together with others
STRIDE = 0x5851F42D4C957F2D  # between the seeds of two processes


class PeerError(ConnectionError):
    """Another process of the training is gone."""


def is_single_process() -> bool:
    """Whether this process trains by itself."""
    return not (dist.is_available() and dist.is_initialized())


def rank_and_world_size() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are."""
    return (0, 1) if is_single_process() else (dist.get_rank(), dist.get_world_size())


def is_rank_zero() -> bool:
    """Whether this is the process that writes what was trained."""
    return rank_and_world_size()[0] == 0


def all_reduce(x: Tensor) -> Tensor:
    """The sum over all processes; gradients flow back through it to all of them."""
    if is_single_process():
        return x
    summed: Tensor = _Sum.apply(x)
    return summed


def all_gather(*parts_N: Tensor) -> list[Tensor]:
    """The rows of all processes, in the order of the processes; tensors given together are equally long."""
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
    """Add up the gradients of all processes; a sparse one then names rows as often as all of them do."""
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
    """The sums of dense tensors over all processes, which take the place of what was given."""
    if is_single_process():
        return list(tensors)
    sums = [tensor.contiguous() for tensor in tensors]
    bundles: dict[Any, list[int]] = defaultdict(list)  # of those that can travel as one; a large one is alone
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
    """Before training: the leader's weights for all, and random numbers of its own for each process."""
    if not is_single_process():
        broadcast_weights(model)
        torch.manual_seed((torch.initial_seed() + rank_and_world_size()[0] * STRIDE) % 2**63)


def broadcast_weights(model: nn.Module) -> None:
    """Give every process the weights of the leader."""
    if not is_single_process():
        with _peer_errors():
            for parameter in model.parameters():
                dist.broadcast(parameter.data, 0)


def broadcast_floats(values: Sequence[float]) -> list[float]:
    """The leader's numbers, so that all processes decide alike."""
    if is_single_process():
        return list(values)
    said = torch.tensor(values, dtype=torch.float64)
    with _peer_errors():
        dist.broadcast(said, 0)
    heard: list[float] = said.tolist()
    return heard


class _Sum(torch.autograd.Function):
    """All processes need the sum, so that its gradient is the sum of theirs."""

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
    assert parameter.grad is not None, "has a gradient"
    return parameter.grad


@contextmanager
def _peer_errors() -> Iterator[None]:
    """Raise PeerError where a process does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise PeerError(
            "another process of this training ended without a word; was it killed for its memory?"
        ) from error
