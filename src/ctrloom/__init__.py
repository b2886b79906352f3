"""Finds the feature interactions a click-through-rate model needs."""

import ctypes
import os
import sys

# Threads that spin while they wait make training ten times slower wherever another process wants the same
# cores. This has an effect only before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Ingest of many rows peaks at an eighth less with this one of Arrow's allocators, and is as fast. This has an
# effect only before pyarrow is loaded, and where the variable is not set.
if sys.platform == "linux":
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")

# A step's large tensors are as large in the next step. Given back to the system in between, their pages are
# faulted in and zeroed again and again, a third of the time of a step of FM: so keep them, in large pages.
# THP_MEM_ALLOC_ENABLE=0 leaves memory as it was.
if os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1") == "1":
    _mallopt = getattr(ctypes.CDLL(None) if os.name == "posix" else None, "mallopt", None)
    if _mallopt is not None:  # glibc's
        _mallopt(-4, 0)  # M_MMAP_MAX: no block is a mapping of its own
        _mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: give nothing back
        _mallopt(-8, 2)  # M_ARENA_MAX: what one thread is done with serves the others
