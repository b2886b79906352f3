"""Work of an optimizer that goes on beside the rest of its step, on a GPU."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import torch


@contextmanager
def beside(device: torch.device | None) -> Iterator[AbstractContextManager[object]]:
    """Gives a context, for work that needs nothing of what follows it; both are done at the end.

    On a GPU it has a stream of its own. It may use tensors that live longer than the step alone: others could
    be given away while it still reads them.
    """
    if device is None or device.type != "cuda":
        yield nullcontext()
        return
    here, aside = torch.cuda.current_stream(device), _stream(device)
    aside.wait_stream(here)
    yield torch.cuda.stream(aside)
    here.wait_stream(aside)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
