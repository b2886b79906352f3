"""Learning rates that a captured step reads anew each time it is replayed."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from ctrloom.optim.grda import GRDA


def hold_rates(optimizer: Optimizer) -> None:
    """Put learning rates into tensors on the device of what they are for, and counters of steps too."""
    if isinstance(optimizer, GRDA):
        return optimizer.hold()
    for group in optimizer.param_groups:
        if not isinstance(group["lr"], Tensor):
            group["lr"] = torch.tensor(float(group["lr"]), device=group["params"][0].device)
        if "capturable" in group:
            group["capturable"] = group["params"][0].is_cuda
    # Some steps of a captured training run as they are; torch would warn of each.
    optimizer._warned_capturable_if_run_uncaptured = True


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give all groups a learning rate, where they hold theirs or in its place."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
