"""Global settings of torch, which training changes and a library must leave as they were."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def restored_torch_state() -> Iterator[None]:
    """Restore random states, deterministic mode and TF32 when the block or the decorated function ends."""
    deterministic = torch.get_deterministic_debug_mode()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    convolutions, workspace = torch.backends.cudnn.allow_tf32, os.environ.get(WORKSPACE)
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(gpus):
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(deterministic)
            torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
            torch.backends.cudnn.allow_tf32 = convolutions
            if workspace is None:
                os.environ.pop(WORKSPACE, None)
