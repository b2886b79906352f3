"""What OptInter's perceptron reads for each pair of fields.

B batch, C columns of the id matrix, F fields, P pairs, D embedding size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.schema import Schema


def slot_std(slots: int, size: int) -> float:
    """Standard deviation with which the inputs of a perceptron, `slots` of width `size`, begin.

    The published code draws uniformly within (3 / (slots * size))^2, which is next to nothing; the square is
    taken to stand for a square root, and this is the standard deviation then. The factors of a product begin
    at its square root, so that a product is of the size of other slots.
    """
    return float(max(slots * size, 1) ** -0.5)


class HadamardProducts(nn.Module):
    """a_i * a_j of pairs of fields, with a table of their own: (ids_BC, factors_BC) -> (B, P, D).

    OptInter, Eq. 6, and its published code, which gives the products a second table of the fields' ids.
    """

    left_P: Tensor
    right_P: Tensor

    def __init__(self, schema: Schema, pairs: Sequence[tuple[str, ...]], size: int, std: float) -> None:
        super().__init__()
        self.size = size
        self.table = FieldEmbedding(schema, size, std) if pairs else None
        fields = [schema.indices(pair) for pair in pairs]
        self.register_buffer("left_P", torch.tensor([i for i, _ in fields], dtype=torch.long), False)
        self.register_buffer("right_P", torch.tensor([j for _, j in fields], dtype=torch.long), False)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None = None) -> Tensor:
        """Products of all pairs."""
        if self.table is None:
            return torch.empty(len(ids_BC), 0, self.size, device=ids_BC.device)
        emb_BFD = self.table(ids_BC, factors_BC)
        return emb_BFD.index_select(1, self.left_P) * emb_BFD.index_select(1, self.right_P)
