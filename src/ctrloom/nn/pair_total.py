"""The sum of the inner products of selected pairs, for scoring: it has no gradient of its own.

B batch, F fields, D embedding size, P pairs, C fields that together are in every pair.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.linalg import vecdot

Pairs = Sequence[tuple[int, ...]]


class SelectedPairSum(nn.Module):
    """sum_c <e_c, sum_j e_j> with j the fields paired with c: emb_BFD -> (B,).

    One matrix product for the inner sums instead of the values of all P pairs. Each pair belongs to one field
    c of a cover of the pairs, so that fewer fields need a sum.
    """

    cover_C: Tensor
    paired_CF: Tensor  # 1 where the pair of c and a field belongs to c

    def __init__(self, pairs: Pairs, fields: int) -> None:
        super().__init__()
        cover = _cover(pairs)
        place = {field: c for c, field in enumerate(cover)}
        paired_CF = torch.zeros(len(cover), fields)
        for i, j in pairs:
            own, other = (i, j) if i in place else (j, i)
            paired_CF[place[own], other] = 1
        self.register_buffer("cover_C", torch.tensor(cover, dtype=torch.long), persistent=False)
        self.register_buffer("paired_CF", paired_CF, persistent=False)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """The sum over all pairs."""
        sum_BCD = self.paired_CF @ emb_BFD
        return vecdot(sum_BCD.flatten(1), emb_BFD.index_select(1, self.cover_C).flatten(1))


def _cover(pairs: Pairs) -> list[int]:
    """Fields of which every pair has at least one, ascending: repeatedly the field in most pairs left."""
    left, cover = set(map(tuple, pairs)), list[int]()
    while left:
        degree = Counter(field for pair in left for field in pair)
        cover.append(min(degree, key=lambda field: (-degree[field], field)))
        left = {pair for pair in left if cover[-1] not in pair}
    return sorted(cover)
