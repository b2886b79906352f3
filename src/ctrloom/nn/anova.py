"""The ANOVA kernel: the sum of all products of a given number of distinct fields.

B batch, F fields, D embedding size.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad


def anova(emb_BFD: Tensor, order: int) -> Tensor:
    """Sum over all sets of `order` fields of sum_d of their product: emb_BFD -> (B,), in O(order F D).

    Dynamic programming (Blondel et al. 2016, Algorithm 1): the products that end with field f are the
    products of order - 1 fields before f, times f.
    """
    kernel_BFD = torch.ones_like(emb_BFD)
    for _ in range(order - 1):
        ending_BFD = emb_BFD * kernel_BFD
        kernel_BFD = pad(ending_BFD.cumsum(1), (0, 0, 1, -1))  # exclusive cumulative sum
    return (emb_BFD * kernel_BFD).sum((1, 2))
