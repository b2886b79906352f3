"""Triton kernels for GPUs, each the twin of plain torch code, which stays for wherever a kernel does not run.

The modules of this room import Triton, so they are imported where `usable` said yes.
"""

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

on_cpu = False  # whether tensors on the CPU take the kernels too: for tests, under Triton's interpreter


def usable(x: Tensor) -> bool:
    """Whether kernels take it: float32 or integers on a GPU, and Triton is installed."""
    taken = x.dtype == torch.float32 or not x.is_floating_point()
    return taken and (x.is_cuda or on_cpu) and _installed()


@cache
def _installed() -> bool:
    return find_spec("triton") is not None
