"""How much memory there is."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_of(device: torch.device) -> int:
    """Bytes of a GPU's memory, or of the machine's, if this container may not have less."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits(), 2**63)


def _limits() -> Iterator[int]:
    for path in LIMITS:
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdecimal():
            yield int(text)
