"""The ANOVA kernel: all products of a given number of different fields.

B batch, F fields, D embedding size.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad


def anova(emb_BFD: Tensor, order: int) -> Tensor:
    """Sum over all sets of `order` fields of sum_d of their product: emb_BFD -> (B,), in O(order F D).

    Dynamic programming (Blondel et al. 2016, Algorithm 1): products that end with field f are those of one
    field less among the fields before f, times f.
    """
    kernel_BFD = torch.ones_like(emb_BFD)
    for _ in range(order - 1):
        ending_BFD = emb_BFD * kernel_BFD
        kernel_BFD = pad(ending_BFD.cumsum(1), (0, 0, 1, -1))  # all among the fields before f
    return (emb_BFD * kernel_BFD).sum((1, 2))
