"""Mixtures of a vector per pair and a product of fields: counterpart of `nn.slots.HadamardProducts.mixed`.

A slot is m_p c_p + f_p a_i * a_j. Plain torch stores each factor and term, B x P x D in size; here they are
computed on the fly.

B batch, P pairs, F fields in a tile of G, D embedding size in a tile of W, Y groups of rows.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # slot entries processed at once
ROWS = 32  # processed sequentially by a program
WARPS = 8


@triton.jit
def _factors(at, emb, left_P, right_P, here, D: tl.constexpr):
    """The two factors of a product."""
    p, d = at // D, at % D
    left = tl.load(emb + tl.load(left_P + p, mask=here, other=0) * D + d, mask=here, other=0.0)
    right = tl.load(emb + tl.load(right_P + p, mask=here, other=0) * D + d, mask=here, other=0.0)
    return left, right


@triton.jit
def _mixture(own, emb, weight_P2, left_P, right_P, out, B, P, F: tl.constexpr, D: tl.constexpr,
             BLOCK: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = at < P * D
    weight = tl.load(weight_P2 + at // D * 2, mask=here, other=0.0)
    factor = tl.load(weight_P2 + at // D * 2 + 1, mask=here, other=0.0)
    for row in range(ROWS):
        b = (tl.program_id(0) * ROWS + row).to(tl.int64)
        there = here & (b < B)
        left, right = _factors(at, emb + b * (F * D), left_P, right_P, there, D)
        value = tl.load(own + b * P * D + at, mask=there, other=0.0)
        tl.store(out + b * P * D + at, weight * value + factor * left * right, mask=there)


@triton.jit
def _mixture_gradient(own, emb, weight_P2, left_P, right_P, grad, own_grad, part, B, P, F: tl.constexpr,
              D: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    """Gradients of the vectors, and partial sums of the weights' gradients per group of rows and entry."""
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here = at < P * D
    weight = tl.load(weight_P2 + at // D * 2, mask=here, other=0.0)
    of_weight = tl.zeros([BLOCK], tl.float32)
    of_factor = tl.zeros([BLOCK], tl.float32)
    for row in range(ROWS):
        b = (tl.program_id(0) * ROWS + row).to(tl.int64)
        there = here & (b < B)
        left, right = _factors(at, emb + b * (F * D), left_P, right_P, there, D)
        value = tl.load(own + b * P * D + at, mask=there, other=0.0)
        grad_here = tl.load(grad + b * P * D + at, mask=there, other=0.0).to(tl.float32)
        tl.store(own_grad + b * P * D + at, weight * grad_here, mask=there)
        of_weight += grad_here * value
        of_factor += grad_here * left * right
    group = part + tl.program_id(0).to(tl.int64) * (2 * P * D)
    tl.store(group + at, of_weight, mask=here)
    tl.store(group + P * D + at, of_factor, mask=here)


@triton.jit
def _mixture_fields(emb, weight_P2, number_FF, grad, out, P, F: tl.constexpr, D: tl.constexpr,
                    G: tl.constexpr, W: tl.constexpr):  # fmt: skip
    """Gradients of a row's embeddings: sums over the pairs of a field of grad times the other factor."""
    b = tl.program_id(0).to(tl.int64)
    row, grads, f_G, d_W = emb + b * (F * D), grad + b * P * D, tl.arange(0, G), tl.arange(0, W)
    out_GW = tl.zeros([G, W], tl.float32)
    for k in range(F):
        p_G = tl.load(number_FF + k * F + f_G, mask=f_G < F, other=-1)
        factor_G = tl.load(weight_P2 + p_G * 2 + 1, mask=p_G >= 0, other=0.0)
        here_GW = (p_G >= 0)[:, None] & (d_W < D)[None, :]
        grad_GW = tl.load(grads + p_G[:, None] * D + d_W[None, :], mask=here_GW, other=0.0).to(tl.float32)
        other_W = tl.load(row + k * D + d_W, mask=d_W < D, other=0.0)
        out_GW += factor_G[:, None] * grad_GW * other_W[None, :]
    here_GW = (f_G < F)[:, None] & (d_W < D)[None, :]
    tl.store(out + b * (F * D) + f_G[:, None] * D + d_W[None, :], out_GW, mask=here_GW)


def mixture(own_BPD: Tensor, emb_BFD: Tensor, weight_P2: Tensor, pairs: tuple[Tensor, Tensor, Tensor],
            dtype: torch.dtype) -> Tensor:  # fmt: skip
    """Slots (B, P, D).

    Args:
        own_BPD: vectors of the pairs.
        emb_BFD: embeddings of the fields.
        weight_P2: weights of the vector and of the product.
        pairs: fields of each pair, left_P and right_P, and index of the pair of two fields or -1, number_FF.
        dtype: dtype of the slots.
    """
    slot_BPD: Tensor = _Mixture.apply(own_BPD, emb_BFD, weight_P2, pairs, dtype)
    return slot_BPD


class _Mixture(torch.autograd.Function):
    @staticmethod
    def forward(ctx, own_BPD, emb_BFD, weight_P2, pairs, dtype):
        own_BPD, emb_BFD, weight_P2 = (x.contiguous() for x in (own_BPD, emb_BFD, weight_P2))
        ctx.save_for_backward(own_BPD, emb_BFD, weight_P2)
        ctx.pairs = pairs
        out_BPD = torch.empty_like(own_BPD, dtype=dtype)
        if own_BPD.numel():
            given = *pairs[:2], out_BPD, *own_BPD.shape[:2]
            _mixture[_grid(own_BPD)](own_BPD, emb_BFD, weight_P2, *given, **_constants(own_BPD, emb_BFD))
        return out_BPD

    @staticmethod
    def backward(ctx, *grads):
        own_BPD, emb_BFD, weight_P2 = ctx.saved_tensors
        left_P, right_P, number_FF = ctx.pairs
        grad_BPD, (batch, count, size) = grads[0].contiguous(), own_BPD.shape
        own_grad_BPD, out_BFD = torch.empty_like(own_BPD), torch.empty_like(emb_BFD)
        grid, fields = _grid(own_BPD), emb_BFD.shape[1]
        part_Y2PD = own_BPD.new_empty(grid[0], 2, count, size)
        if own_BPD.numel():
            given = left_P, right_P, grad_BPD, own_grad_BPD, part_Y2PD, batch, count
            _mixture_gradient[grid](own_BPD, emb_BFD, weight_P2, *given, **_constants(own_BPD, emb_BFD))
            tile = {"G": triton.next_power_of_2(fields), "W": triton.next_power_of_2(size)}
            given = number_FF, grad_BPD, out_BFD, count
            _mixture_fields[(batch,)](emb_BFD, weight_P2, *given, F=fields, D=size, **tile, num_warps=1)
        return own_grad_BPD, out_BFD, part_Y2PD.sum(0).sum(-1).T, None, None


def _grid(own_BPD):
    batch, count, size = own_BPD.shape
    return triton.cdiv(batch, ROWS), triton.cdiv(count * size, BLOCK)


def _constants(own_BPD, emb_BFD):
    return {"F": emb_BFD.shape[1], "D": own_BPD.shape[2], "BLOCK": BLOCK, "ROWS": ROWS, "num_warps": WARPS}
