"""Layers over selected pairs of fields, beyond inner products.

B batch, F fields, D embedding size, P pairs, H hidden, S vectors per id.
Tensors per pair have P first, so that gathers and products run over contiguous blocks.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from ctrloom.nn.embedding import FieldEmbedding
from ctrloom.nn.mlp import linear
from ctrloom.nn.pair_sums import Pairs, SelectedPairs
from ctrloom.schema import Schema


def _matrices(pairs: int, inputs: int, outputs: int) -> nn.Parameter:
    """One matrix per pair, each with Xavier uniform initialisation."""
    bound = math.sqrt(6 / (inputs + outputs))
    return nn.Parameter(torch.empty(pairs, inputs, outputs).uniform_(-bound, bound))


class Sides(nn.Module):
    """The two embeddings of each pair: emb_BFD -> (left_PBD, right_PBD)."""

    left_P: Tensor
    right_P: Tensor

    def __init__(self, pairs: Pairs) -> None:
        super().__init__()
        self.register_buffer("left_P", torch.tensor([i for i, _ in pairs], dtype=torch.long), False)
        self.register_buffer("right_P", torch.tensor([j for _, j in pairs], dtype=torch.long), False)

    def forward(self, emb_BFD: Tensor) -> tuple[Tensor, Tensor]:
        """v_i and v_j of each pair."""
        emb_FBD = emb_BFD.transpose(0, 1).contiguous()
        return emb_FBD.index_select(0, self.left_P), emb_FBD.index_select(0, self.right_P)


class FieldAwareProducts(nn.Module):
    """<v_i for field j, v_j for field i> of each pair: (ids_BC, factors_BC) -> (B, P) (Juan et al. 2016).

    An id has one vector per partner of its field; the table has the width of the field with the most
    partners, so it shrinks with the selection.
    """

    left_P: Tensor
    right_P: Tensor

    def __init__(self, pairs: Pairs, schema: Schema, size: int, std: float | None) -> None:
        super().__init__()
        partners = [[pair for pair in pairs if f in pair] for f in range(len(schema.fields))]
        slots = max(map(len, partners))
        left = [i * slots + partners[i].index((i, j)) for i, j in pairs]
        right = [j * slots + partners[j].index((i, j)) for i, j in pairs]
        self.size = size
        self.table = FieldEmbedding(schema, slots * size, std)
        self.register_buffer("left_P", torch.tensor(left, dtype=torch.long), False)
        self.register_buffer("right_P", torch.tensor(right, dtype=torch.long), False)

    def forward(self, ids_BC: Tensor, factors_BC: Tensor | None) -> Tensor:
        """One product per pair."""
        emb_BSD = self.table(ids_BC, factors_BC).flatten(1).unflatten(1, (-1, self.size))
        return (emb_BSD.index_select(1, self.left_P) * emb_BSD.index_select(1, self.right_P)).sum(-1)


class KernelProducts(nn.Module):
    """v_i^T W_ij v_j of each pair: emb_BFD -> (B, P) (Qu et al. 2018; Sun et al. 2021)."""

    def __init__(self, pairs: Pairs, fields: int, size: int) -> None:
        super().__init__()
        self.sides = Sides(pairs)
        self.kernel_PDD = _matrices(len(pairs), size, size)
        self.many = 5 * len(pairs) > fields**2

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """One product per pair."""
        left_PBD, right_PBD = self.sides(emb_BFD)
        return (torch.bmm(left_PBD, self.kernel_PDD) * right_PBD).sum(-1).T

    def total(self, emb_BFD: Tensor) -> Tensor:
        """Sum over the pairs (B,); as x^T W x with the kernels as blocks of W if there are many pairs."""
        if not self.many:
            return self(emb_BFD).sum(1)
        _, fields, size = emb_BFD.shape
        blocks_FFDD = self.kernel_PDD.new_zeros(fields, fields, size, size)
        blocks_FFDD = blocks_FFDD.index_put((self.sides.left_P, self.sides.right_P), self.kernel_PDD)
        x_BN = emb_BFD.flatten(1)  # N = F D
        return (x_BN @ blocks_FFDD.transpose(1, 2).reshape(fields * size, -1) * x_BN).sum(1)


class PairNetworks(nn.Module):
    """A small MLP per pair on [v_i, v_j, v_i * v_j]: emb_BFD -> (B, P, H) (Qu et al. 2018).

    A layer is linear, layer norm, bias, ReLU, computed for all pairs by one batched matrix product.
    """

    def __init__(self, pairs: Pairs, size: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.sides = Sides(pairs)
        widths = [3 * size, *hidden]
        self.weights = nn.ParameterList(_matrices(len(pairs), n, m) for n, m in pairwise(widths))
        self.biases = nn.ParameterList(torch.zeros(len(pairs), 1, m) for m in hidden)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """Outputs of the networks."""
        left_PBD, right_PBD = self.sides(emb_BFD)
        x_PBH = torch.cat([left_PBD, right_PBD, left_PBD * right_PBD], -1)
        for weight_PHH, bias_P1H in zip(self.weights, self.biases, strict=True):
            x_PBH = layer_norm(torch.bmm(x_PBH, weight_PHH), bias_P1H.shape[-1:])
            x_PBH = (x_PBH + bias_P1H).relu()
        return x_PBH.transpose(0, 1)


class AttentivePooling(nn.Module):
    """sum_ij a_ij v_i * v_j, a = softmax over the pairs of h^T ReLU(W (v_i * v_j) + b): emb_BFD -> (B, D).

    Xiao et al. 2017, Eq. 4 and 5.
    """

    def __init__(self, pairs: Pairs, size: int, attention_size: int) -> None:
        super().__init__()
        self.sides = Sides(pairs)
        self.attention = linear(size, attention_size)
        self.out = linear(attention_size, 1, bias=False)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """The weighted sum; zero without pairs."""
        left_PBD, right_PBD = self.sides(emb_BFD)
        x_PBD = left_PBD * right_PBD
        weight_PB1 = self.out(self.attention(x_PBD).relu()).softmax(0)
        return (weight_PB1 * x_PBD).sum(0)


class BiInteraction(nn.Module):
    """sum_ij v_i * v_j over the pairs: emb_BFD -> (B, D) (He and Chua 2017, Eq. 3)."""

    def __init__(self, pairs: Pairs, fields: int) -> None:
        super().__init__()
        self.complete = len(pairs) == fields * (fields - 1) // 2
        self.selected = SelectedPairs(pairs, fields)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """The sum, in O(F D) if the pairs are complete (Eq. 4)."""
        if self.complete:
            return 0.5 * (emb_BFD.sum(1).square() - emb_BFD.square().sum(1))
        return self.selected.pooled(emb_BFD)
