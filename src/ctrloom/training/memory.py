"""Memory of the host and of GPUs, and what a training takes of it."""

import torch
from torch import nn

from ctrloom import memory
from ctrloom.nn.cross_features import CrossEmbedding
from ctrloom.nn.embedding import FieldEmbedding


def memory_of(device: torch.device) -> int:
    """Bytes of memory of a GPU, or of the host, capped by the limits of this process."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return memory.total()


def require_training(model: nn.Module, rowwise: bool) -> None:
    """Check that the host has memory for gradients, the optimizer's state and the best weights of a model.

    On a GPU an allocation that fails is an error anyway, but the host may end the process instead.

    Raises:
        LowMemoryError: it does not.
    """
    tables = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, CrossEmbedding) or (rowwise and isinstance(module, FieldEmbedding))
        for parameter in module.parameters()
    }
    # Tables whose rows are updated one by one have no dense gradient.
    needed = sum(
        parameter.nbytes * (3 if id(parameter) in tables else 4)
        for parameter in model.parameters()
        if parameter.device.type == "cpu" and parameter.requires_grad
    )
    memory.require(
        needed,
        f"the training of {sum(p.numel() for p in model.parameters()):,} weights",
        "lower embedding_size or hidden, raise vocabulary.min_count (fewer ids), or set embedding_optimizer: "
        "lazy_adam",
    )
