"""Learning rates in tensors, so that a captured step reads their current values at each replay."""

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
