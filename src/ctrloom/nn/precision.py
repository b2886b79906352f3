"""The precision of matrix products, for what is to be handed to them without another pass.

B batch, X inputs in all.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def of_products(x: Tensor) -> torch.dtype:
    """The type in which products with x are taken: autocast's where that is on."""
    device = x.device.type
    if x.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """What a perceptron takes, side by side in the precision of its products: (B, X)."""
    kind = of_products(parts[0])
    return torch.cat([part.flatten(1).to(kind) for part in parts], 1)
