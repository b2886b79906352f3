"""Run part of an optimizer step on a second CUDA stream."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch


@contextmanager
def side_stream(device: torch.device | None) -> Iterator[AbstractContextManager[object]]:
    """Yields a context whose work runs concurrently with the rest of the block; joined at the end.

    On a GPU the context is a side stream, otherwise a no-op. Its work may only use tensors that outlive the
    step, as the allocator could reuse the memory of others while they are still being read.
    """
    if device is None or device.type != "cuda":
        yield nullcontext()
        return
    here, side = torch.cuda.current_stream(device), _stream(device)
    side.wait_stream(here)
    yield torch.cuda.stream(side)
    here.wait_stream(side)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
