"""Triton kernels for GPUs; each has an equivalent in plain torch, which is used if the kernel cannot run.

The modules of this package import Triton, so import them only after `usable` returned True.
"""

import warnings
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

on_cpu = False  # also use kernels for CPU tensors, for tests with Triton's interpreter


def usable(x: Tensor) -> bool:
    """Whether kernels can be used: float32 or integers on a GPU, and Triton works."""
    taken = x.dtype == torch.float32 or not x.is_floating_point()
    return taken and (x.is_cuda or on_cpu) and _works(x.is_cuda)


@cache
def _works(on_gpu: bool) -> bool:
    if find_spec("triton") is None:
        return False
    if on_gpu:
        from triton.runtime import driver

        try:
            driver.active.get_current_target()  # compiles Triton's C launcher on first use
        except Exception as error:
            warnings.warn(
                f"Triton cannot compile its kernel launcher ({error}); falling back to plain torch, which "
                "needs host syncs; install a C compiler such as gcc, and Python's headers",
                stacklevel=3,
            )
            return False
    return True
