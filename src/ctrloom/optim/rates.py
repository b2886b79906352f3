"""Learning rates in tensors, so that a captured step reads their current values at each replay."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ctrloom.optim.grda import GRDA


def hold_rates(optimizer: Optimizer) -> None:
    """Move learning rates and step counters into tensors on the device of the parameters."""
    if isinstance(optimizer, GRDA):
        return optimizer.hold()
    for group in optimizer.param_groups:
        if not isinstance(group["lr"], Tensor):
            group["lr"] = torch.tensor(float(group["lr"]), device=group["params"][0].device)
        if "capturable" in group:
            group["capturable"] = group["params"][0].is_cuda
    # Some steps run uncaptured (warm-up, last batch); torch would warn about each.
    optimizer._warned_capturable_if_run_uncaptured = True


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of all groups, in place if it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def restore(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load a state; values that are held in tensors stay in the same ones."""
    held = [
        {name: value for name, value in group.items() if isinstance(value, Tensor)}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    optimizer._opt_called = True  # type: ignore[attr-defined]  # or schedulers warn that no step was taken
    for group, tensors in zip(optimizer.param_groups, held, strict=True):
        for name, tensor in tensors.items():
            tensor.copy_(torch.as_tensor(group[name]))
            group[name] = tensor
