"""The dtype of matrix products under autocast, to prepare their inputs without an extra pass.

B batch, X total input size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def matmul_dtype(x: Tensor) -> torch.dtype:
    """The dtype of matrix products with x: autocast's if enabled."""
    device = x.device.type
    if x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)


def mlp_input(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate the inputs of an MLP in the dtype of its products: (B, X)."""
    kind = matmul_dtype(parts[0])
    return torch.cat([part.flatten(1).to(kind) for part in parts], 1)
