"""CowClip: bounds on the gradients of a table's rows, for batches much larger than settings were tuned for.

U rows that a batch touches, D width of a row.
"""

from torch import Tensor

RATIO, FLOOR = 1.0, 1e-5  # r and zeta of the paper


def cowclip(grad_UD: Tensor, weight_UD: Tensor, count_U: Tensor) -> Tensor:
    """Gradients of rows, none longer than count * max(RATIO * |row|, FLOOR), with how often each was used.

    A row of a rare value is close to zero, and the large batch that it turns up in again would move it by
    much more than the small batches did. Reference: Zheng et al., CowClip, AAAI 2023, Algorithm 1.
    """
    most_U = count_U * (RATIO * weight_UD.norm(dim=1)).clamp_min(FLOOR)
    return grad_UD * (most_U / grad_UD.norm(dim=1).maximum(most_U)).unsqueeze(1)
