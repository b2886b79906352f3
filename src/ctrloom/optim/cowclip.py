"""CowClip: gradient clipping per table row, for batches much larger than the settings were tuned for.

U distinct rows in a batch, D width of a row.
"""

from torch import Tensor

RATIO, FLOOR = 1.0, 1e-5  # r and zeta of the paper


def cowclip(grad_UD: Tensor, weight_UD: Tensor, count_U: Tensor) -> Tensor:
    """Clip the gradient of each row to norm count * max(RATIO * |row|, FLOOR), with its count in the batch.

    Rows of rare values are close to zero, and a large batch would update them by much more than small batches
    did. Reference: Zheng et al., CowClip, AAAI 2023, Algorithm 1.
    """
    most_U = count_U * (RATIO * weight_UD.norm(dim=1)).clamp_min(FLOOR)
    return grad_UD * (most_U / grad_UD.norm(dim=1).maximum(most_U)).unsqueeze(1)
