"""Sums over selected pairs without the value of each.

B batch, F fields, D embedding size, P pairs, C fields that together are in every pair.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.linalg import vecdot
from torch.nn.functional import embedding_bag

Pairs = Sequence[tuple[int, ...]]
MANY_ROWS = 64  # from which bags are faster
READ_AT_ONCE = 2**16  # vectors, so that they and their indices stay in the cache


class SelectedPairs(nn.Module):
    """Sums of v_i * v_j over pairs, as sum_c e_c * s_c with s_c the sum of the fields paired with c.

    Each pair belongs to one field c of a cover of the pairs, so that fewer fields need a sum. With that, P +
    C vectors are read. On a CPU, sums over bags of rows of E do so fastest; for few rows, with gradients, and
    in exports, which have no fixed number of rows, it is a matrix product.
    """

    cover_C: Tensor
    paired_CF: Tensor  # 1 where the pair of c and a field belongs to c
    field_P: Tensor  # the other field of each pair, by c
    start_C: Tensor  # where the pairs of c begin

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
        self.register_buffer("field_P", paired_CF.nonzero()[:, 1], persistent=False)
        count_C = paired_CF.sum(1).long()
        self.register_buffer("start_C", count_C.cumsum(0) - count_C, persistent=False)

    def total(self, emb_BFD: Tensor) -> Tensor:
        """sum_ij <v_i, v_j> (B,)."""
        return self._sum(emb_BFD, lambda sum_BCD, own_BCD: vecdot(sum_BCD.flatten(1), own_BCD.flatten(1)))

    def pooled(self, emb_BFD: Tensor) -> Tensor:
        """sum_ij v_i * v_j (B, D)."""
        return self._sum(emb_BFD, lambda sum_BCD, own_BCD: (sum_BCD * own_BCD).sum(1))

    def _sum(self, emb_BFD: Tensor, over_C: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        exported = torch.compiler.is_compiling()
        if exported or torch.is_grad_enabled() or not emb_BFD.is_cpu or len(emb_BFD) < MANY_ROWS:
            return over_C(self.paired_CF @ emb_BFD, emb_BFD.index_select(1, self.cover_C))
        at_once = max(MANY_ROWS, READ_AT_ONCE // len(self.field_P))
        parts = (over_C(self._bags(e), e.index_select(1, self.cover_C)) for e in emb_BFD.split(at_once))
        return torch.cat(list(parts))

    def _bags(self, emb_BFD: Tensor) -> Tensor:
        batch, fields, _ = emb_BFD.shape
        row_B1 = torch.arange(batch, device=emb_BFD.device).unsqueeze(1)
        row_BP, start_BC = row_B1 * fields + self.field_P, row_B1 * len(self.field_P) + self.start_C
        sum_XD = embedding_bag(row_BP.flatten(), emb_BFD.flatten(0, 1), start_BC.flatten(), mode="sum")
        return sum_XD.unflatten(0, (batch, -1))


def _cover(pairs: Pairs) -> list[int]:
    """Fields of which every pair has at least one, ascending: repeatedly the field in most pairs left."""
    left, cover = set(map(tuple, pairs)), list[int]()
    while left:
        degree = Counter(field for pair in left for field in pair)
        cover.append(min(degree, key=lambda field: (-degree[field], field)))
        left = {pair for pair in left if cover[-1] not in pair}
    return sorted(cover)
