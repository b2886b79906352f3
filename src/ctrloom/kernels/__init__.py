"""Triton kernels for GPUs, each the twin of plain torch code, which stays for wherever a kernel does not run.

The modules of this room import Triton, so they are imported where `usable` said yes.
"""

import warnings
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

on_cpu = False  # whether tensors on the CPU take the kernels too: for tests, under Triton's interpreter


def usable(x: Tensor) -> bool:
    """Whether kernels take it: float32 or integers on a GPU, and Triton works."""
    taken = x.dtype == torch.float32 or not x.is_floating_point()
    return taken and (x.is_cuda or on_cpu) and _works(x.is_cuda)


@cache
def _works(on_gpu: bool) -> bool:
    if find_spec("triton") is None:
        return False
    if on_gpu:
        from triton.runtime import driver

        try:
            driver.active.get_current_target()  # Triton builds its part in C when it is first asked
        except Exception as error:
            warnings.warn(
                f"Triton cannot build what starts its kernels ({error}); plain code takes their place, and "
                "steps wait for the GPU; install a C compiler, such as gcc, and Python's headers",
                stacklevel=3,
            )
            return False
    return True
