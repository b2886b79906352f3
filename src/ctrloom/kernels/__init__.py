"""Triton kernels for GPUs, each the twin of plain torch code, which stays for wherever a kernel does not run.

The modules of this room import Triton, so they are imported where `usable` said yes.
"""

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

on_cpu = False  # whether tensors on the CPU take the kernels too: for tests, under Triton's interpreter


def usable(*tensors: Tensor) -> bool:
    """Whether kernels run on these: float32 on a GPU, and Triton is installed."""
    there = all(x.dtype == torch.float32 and (x.is_cuda or on_cpu) for x in tensors)
    return there and _installed()


@cache
def _installed() -> bool:
    return find_spec("triton") is not None
