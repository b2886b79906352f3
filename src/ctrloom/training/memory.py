"""Available memory of the host and of GPUs."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_of(device: torch.device) -> int:
    """Bytes of memory of a GPU, or of the host, capped by the container's cgroup limit."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits(), 2**63)


def _limits() -> Iterator[int]:
    for path in LIMITS:
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdecimal():
            yield int(text)
