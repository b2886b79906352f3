"""Slots: the part of the input of OptInter's MLP that belongs to a pair of fields, whatever models the pair.

B batch, C columns of the id matrix, F fields, P pairs, D embedding size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ctrloom import kernels
from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.precision import matmul_dtype
from ctrloom.schema import Schema


def slot_std(slots: int, size: int) -> float:
    """Initial standard deviation of the MLP's inputs, `slots` of width `size`.

    The published code samples uniformly within (3 / (slots * size))^2, which is close to zero; the square is
    assumed to be a typo for the square root, which gives this standard deviation. The factors of a product
    use its square root, so that products match the scale of other slots.
    """
    return float(max(slots * size, 1) ** -0.5)


class HadamardProducts(nn.Module):
    """a_i * a_j of pairs of fields, with their own table: (ids_BC, factors_BC) -> (B, P, D).

    OptInter, section II, and its published code, which uses a second embedding table for the products.
    """

    left_P: Tensor
    right_P: Tensor
    number_FF: Tensor  # index of the pair of two fields, or -1

    def __init__(self, schema: Schema, pairs: Sequence[tuple[str, ...]], size: int, std: float) -> None:
        super().__init__()
        self.size = size
        self.table = FieldEmbedding(schema, size, std) if pairs else None
        fields = [schema.indices(pair) for pair in pairs]
        self.register_buffer("left_P", torch.tensor([i for i, _ in fields], dtype=torch.long), False)
        self.register_buffer("right_P", torch.tensor([j for _, j in fields], dtype=torch.long), False)

        number_FF = torch.full((len(schema.fields), len(schema.fields)), -1)
        for number, (i, j) in enumerate(fields):
            number_FF[i, j] = number_FF[j, i] = number
        self.register_buffer("number_FF", number_FF, False)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Products of all pairs."""
        if self.table is None:
            return torch.empty(ids_BC.shape[0], 0, self.size, device=ids_BC.device)
        return self._products(self.table(ids_BC, factors_BC))

    def mixed(
        self, own_BPD: Tensor, weight_P2: Tensor, ids_BC: Tensor, factors_BC: Tensor | None = None
    ) -> Tensor:
        """Weighted sum of each pair's own vector and its product (B, P, D)."""
        assert self.table is not None, "no pairs"
        emb_BFD = self.table(ids_BC, factors_BC)
        if kernels.usable(own_BPD):
            from ctrloom.kernels.mixture import mixture

            pairs = self.left_P, self.right_P, self.number_FF
            return mixture(own_BPD, emb_BFD, weight_P2, pairs, matmul_dtype(own_BPD))
        # Expand the weights here: torch takes much longer for the gradient of a broadcast factor per pair.
        own_PD, product_PD = (w_P[:, None].expand(own_BPD.shape[1:]) for w_P in weight_P2.unbind(1))
        return own_PD * own_BPD + product_PD * self._products(emb_BFD)

    def _products(self, emb_BFD: Tensor) -> Tensor:
        return emb_BFD.index_select(1, self.left_P) * emb_BFD.index_select(1, self.right_P)
