"""Environment variables: where training runs, and what makes the processes of commands and steps fast.

An invalid value is an error that names the variable.
"""

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ctrloom.config.base import MachineError

DEVICES = ("auto", "cpu", "cuda")
CHECKPOINTS = "CTRLOOM_CHECKPOINTS"  # where: output (default), store, off, or a folder or URL

# For the processes of commands and steps, before they load torch and pyarrow; the images set them, too.
FAST = {
    # Threads that spin while they wait make training ten times slower if other processes need the same cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    # NumPy multiplies only small matrices here. If its OpenBLAS gets no memory for a thread, it sends SIGINT.
    "OPENBLAS_NUM_THREADS": "1",
    # Ingest of many rows peaks at an eighth less with this one of Arrow's allocators, and is as fast.
    "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",
    # A step's large tensors are as large in the next step. If they are given back to the system in between,
    # their pages are faulted in and zeroed again, a third of the time of a step of FM: keep them, in huge
    # pages. THP_MEM_ALLOC_ENABLE=0 disables this.
    "THP_MEM_ALLOC_ENABLE": "1",
    "MALLOC_MMAP_MAX_": "0",  # no block is a mapping of its own
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),  # give nothing back
    "MALLOC_ARENA_MAX": "2",  # what one thread has freed serves the others
}
_MALLOPT = {"MALLOC_MMAP_MAX_": -4, "MALLOC_TRIM_THRESHOLD_": -1, "MALLOC_ARENA_MAX": -8}  # glibc's numbers


def make_fast() -> None:
    """Configure this process and its children for training, where the user has not configured them otherwise.

    Call it before torch and pyarrow are loaded, which read the variables once.
    """
    chosen = _fast_variables()
    os.environ.update(chosen)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # glibc, which has read its variables when this process began
        for variable in _MALLOPT.keys() & chosen.keys():
            mallopt(_MALLOPT[variable], int(chosen[variable]))


@contextmanager
def fast_children() -> Iterator[None]:
    """Configure the processes that are started in this context, as `make_fast` does."""
    with set_unless_given(_fast_variables()):
        yield


@contextmanager
def set_unless_given(variables: Mapping[str, str]) -> Iterator[None]:
    """Set those of the variables in this context that the user has not set."""
    chosen = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(chosen)
    try:
        yield
    finally:
        for variable in chosen:
            os.environ.pop(variable, None)


def _fast_variables() -> dict[str, str]:
    """The variables of `FAST` that apply to this system and that the user has not set."""
    known = FAST if sys.platform == "linux" else {"OMP_WAIT_POLICY": FAST["OMP_WAIT_POLICY"]}
    keep = os.environ.get("THP_MEM_ALLOC_ENABLE", "1") == "1"
    return {
        name: value
        for name, value in known.items()
        if name not in os.environ and (keep or name not in _MALLOPT)
    }


def device_name() -> str:
    """The value of CTRLOOM_DEVICE; `auto` if it is not set.

    Raises:
        MachineError: it is not a device.
    """
    name = os.environ.get("CTRLOOM_DEVICE", "auto")
    if name not in DEVICES:
        raise MachineError(
            f"CTRLOOM_DEVICE: must be {', '.join(DEVICES)}, not {name!r}; CUDA_VISIBLE_DEVICES selects a GPU"
        )
    return name


def positive_int(variable: str) -> int:
    """A number of processes in the environment, such as WORLD_SIZE; 1 if it is not set.

    Raises:
        MachineError: it is not a positive whole number.
    """
    return _whole_number(variable, 1, "a positive number of processes")


def process_number(variable: str) -> int:
    """The number of this process in the environment, such as RANK; 0 if it is not set.

    Raises:
        MachineError: it is not a whole number.
    """
    return _whole_number(variable, 0, "the number of a process, from 0")


def _whole_number(variable: str, least: int, what: str) -> int:
    text = os.environ.get(variable, str(least))
    if not text.isdecimal() or int(text) < least:
        raise MachineError(f"{variable}: must be {what}, got {text!r}")
    return int(text)
