"""Products of selected fields, summed over the embedding.

B batch, F fields, D embedding size, P interactions of one order, Q cores.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from ctrloom import kernels
from ctrloom.nn.pair_sums import SelectedPairs
from ctrloom.nn.precision import matmul_dtype

CORES = 64  # cores per batched matrix product


def pair_sum(emb_BFD: Tensor) -> Tensor:
    """Sum over all pairs of fields of their inner products, in O(F D) (Rendle 2010, Lemma 3.1)."""
    if kernels.usable(emb_BFD):
        from ctrloom.kernels import pair_sum as kernel

        if kernel.fits(emb_BFD):
            return kernel.pair_sum(emb_BFD)
    total_B: Tensor = _PairSum.apply(emb_BFD)
    return total_B


class _PairSum(torch.autograd.Function):
    """(|s|^2 - sum_f |e_f|^2) / 2 with s = sum_f e_f; computes its gradient s - e_f in one pass."""

    @staticmethod
    def forward(ctx: Any, emb_BFD: Tensor) -> Tensor:
        sum_BD, emb_BH = emb_BFD.sum(1), emb_BFD.flatten(1)
        ctx.save_for_backward(emb_BFD, sum_BD)
        return 0.5 * (vector_norm(sum_BD, dim=1).square() - vector_norm(emb_BH, dim=1).square())

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        emb_BFD, sum_BD = ctx.saved_tensors
        weighted_B1D = (sum_BD * grads[0].unsqueeze(1)).unsqueeze(1)
        return torch.addcmul(weighted_B1D, emb_BFD, grads[0][:, None, None], value=-1)


class _PairDots(torch.autograd.Function):
    """Entries of E E^T; the gradient is also one product: the symmetric matrix of their gradients, times E.

    Entries are gathered in the dtype of E, which on a CPU is several times faster than in half precision.
    """

    @staticmethod
    def forward(ctx: Any, emb_BFD: Tensor, position_P: Tensor, pair_FF: Tensor) -> Tensor:
        cast_BFD = emb_BFD.to(matmul_dtype(emb_BFD))
        ctx.save_for_backward(cast_BFD, pair_FF)
        return torch.bmm(cast_BFD, cast_BFD.mT).flatten(1).to(emb_BFD.dtype).index_select(1, position_P)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        cast_BFD, pair_FF = ctx.saved_tensors
        grad_BFF = pad(grads[0], (0, 1)).index_select(1, pair_FF).unflatten(1, (cast_BFD.shape[1], -1))
        return torch.bmm(grad_BFF.to(cast_BFD.dtype), cast_BFD).to(grads[0].dtype), None, None


class FusedProducts(nn.Module):
    """Products of selected tuples by one Triton kernel; returns None where it cannot run.

    Args:
        tuples: fields of each tuple.
        places: each tuple as the fields of its core and its remaining field.
        fields: F.
    """

    def __init__(
        self,
        tuples: Sequence[tuple[int, ...]],
        places: Sequence[tuple[tuple[int, ...], int]],
        fields: int,
    ) -> None:
        super().__init__()
        self.tuples, self.places, self.fields = list(tuples), list(places), fields
        self.tiles: tuple[Any, Any] | None = None  # built on the device of the embeddings on first use

    def forward(self, emb_BFD: Tensor) -> Tensor | None:
        """x_BP."""
        if not self.places or not kernels.usable(emb_BFD):
            return None
        from ctrloom.kernels.products import fits, selected, tiles_of_gradients, tiles_of_values

        if not fits(emb_BFD):
            return None
        if self.tiles is None or self.tiles[0].core_CQ.device != emb_BFD.device:
            once = [(core, field, p) for p, (core, field) in enumerate(self.places)]
            values = tiles_of_values(once, self.fields).to(emb_BFD.device)
            self.tiles = values, tiles_of_gradients(self.tuples, self.fields).to(emb_BFD.device)
        values, gradients = self.tiles
        return selected(emb_BFD, values, gradients, len(self.places))


class PairProducts(nn.Module):
    """Inner products of selected pairs of fields: emb_BFD -> (B, P)."""

    position_P: Tensor
    pair_FF: Tensor

    def __init__(self, pairs: Sequence[tuple[int, ...]], fields: int) -> None:
        super().__init__()
        position_P = torch.tensor([i * fields + j for i, j in pairs], dtype=torch.long)
        pair_FF = torch.full((fields, fields), len(pairs))  # pair index at (i, j) and (j, i); else P
        for p, (i, j) in enumerate(pairs):
            pair_FF[i, j] = pair_FF[j, i] = p
        self.register_buffer("position_P", position_P, persistent=False)
        self.register_buffer("pair_FF", pair_FF.flatten(), persistent=False)
        self.complete = len(pairs) == fields * (fields - 1) // 2
        self.selected = SelectedPairs(pairs, fields)
        self.fused = FusedProducts(pairs, [((i,), j) for i, j in pairs], fields)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """<e_i, e_j> for each pair, by one batched matrix product without a B x P x D tensor."""
        if (x_BP := self.fused(emb_BFD)) is not None:
            return x_BP
        dots_BP: Tensor = _PairDots.apply(emb_BFD, self.position_P, self.pair_FF)
        return dots_BP

    def total(self, emb_BFD: Tensor) -> Tensor:
        """Sum over the pairs (B,), in closed form if the pairs are complete."""
        if self.complete:
            return pair_sum(emb_BFD)
        if torch.is_grad_enabled() or kernels.usable(emb_BFD):
            return self(emb_BFD).sum(1)
        return self.selected.total(emb_BFD)


class TupleProducts(nn.Module):
    """Products of three or more fields, summed over the embedding: emb_BFD -> (B, P).

    A tuple is split into a core of all fields but one, and that field. Tuples with the same core share its
    product, and a batched matrix product of cores and embeddings gives many values without a B x P x D
    tensor. Tuples that extend a few strong ones have few cores (AIM, Algorithm 1); if all tuples of an order
    are present, the cores are their prefixes.
    """

    place_P: Tensor

    def __init__(self, tuples: Sequence[tuple[int, ...]], fields: int) -> None:
        super().__init__()
        self.order = len(tuples[0])
        shared = Counter(core for fields_p in tuples for core in combinations(fields_p, self.order - 1))
        extended: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)  # core: field, tuple
        for p, fields_p in enumerate(tuples):
            core = max(combinations(fields_p, self.order - 1), key=shared.__getitem__)
            extended[core].append((sum(fields_p) - sum(core), p))
        cores, drawn = sorted(extended), []
        at = {p: (core, field) for core in cores for field, p in extended[core]}
        self.fused = FusedProducts(tuples, [at[p] for p in range(len(tuples))], fields)
        self.lowest: list[int] = []  # per block, the lowest field that is multiplied with a core
        for block, start in enumerate(range(0, len(cores), CORES)):
            here = cores[start : start + CORES]
            members = [(q, field, p) for q, core in enumerate(here) for field, p in extended[core]]
            low = min(field for _, field, _ in members)
            position = torch.tensor([q * (fields - low) + field - low for q, field, _ in members])
            self.register_buffer(f"core_{block}", torch.tensor(here).T.contiguous(), persistent=False)
            self.register_buffer(f"position_{block}", position, persistent=False)
            self.lowest.append(low)
            drawn += [p for _, _, p in members]
        self.in_order = drawn == sorted(drawn)
        self.register_buffer("place_P", torch.tensor(drawn).argsort(), persistent=False)

    def forward(self, emb_BFD: Tensor) -> Tensor:
        """sum_d e_i e_j e_k ... for each tuple."""
        if (x_BP := self.fused(emb_BFD)) is not None:
            return x_BP
        values = self._values if self.order == 3 else self._unkept_values
        x_BP = torch.cat([values(emb_BFD, block) for block in range(len(self.lowest))], 1)
        return x_BP if self.in_order else x_BP.index_select(1, self.place_P)

    def _values(self, emb_BFD: Tensor, block: int) -> Tensor:
        first, *others = (emb_BFD.index_select(1, field_Q) for field_Q in self.get_buffer(f"core_{block}"))
        core_BQD = reduce(torch.mul, others, first)
        value_BQF = torch.bmm(core_BQD, emb_BFD[:, self.lowest[block] :].mT)
        return value_BQF.flatten(1).index_select(1, self.get_buffer(f"position_{block}"))

    def _unkept_values(self, emb_BFD: Tensor, block: int) -> Tensor:
        """As `_values`, but recomputes the cores, which can be many, in the backward pass."""
        x_BP: Tensor = checkpoint(self._values, emb_BFD, block, use_reentrant=False, preserve_rng_state=False)
        return x_BP

    def total(self, emb_BFD: Tensor) -> Tensor:
        """Sum over the tuples (B,)."""
        total_B: Tensor = self(emb_BFD).sum(1)
        return total_B


def products(interactions: Sequence[tuple[int, ...]], fields: int) -> PairProducts | TupleProducts:
    """The layer for interactions of one order, given as tuples of field indices."""
    layer = PairProducts if len(interactions[0]) == 2 else TupleProducts
    return layer(interactions, fields)
