"""The sum of the inner products of all pairs, and its gradient: counterpart of `nn.products.pair_sum`.

B batch, F fields in a tile of G, D embedding size in a tile of W.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

LARGEST = 64 * 128  # maximum number of entries in a tile


@triton.jit
def _row(emb, b, F: tl.constexpr, D: tl.constexpr, G: tl.constexpr, W: tl.constexpr):
    """A row's embeddings as a tile, their offsets, and the mask of valid entries."""
    f_G, d_W = tl.arange(0, G), tl.arange(0, W)
    at_GW = b * (F * D) + f_G[:, None] * D + d_W[None, :]
    here_GW = (f_G < F)[:, None] & (d_W < D)[None, :]
    return tl.load(emb + at_GW, mask=here_GW, other=0.0), at_GW, here_GW


@triton.jit
def _pair_sum(emb, total_B, F: tl.constexpr, D: tl.constexpr, G: tl.constexpr, W: tl.constexpr):
    b = tl.program_id(0).to(tl.int64)
    emb_GW, _, _ = _row(emb, b, F, D, G, W)
    sum_W = tl.sum(emb_GW, 0)
    tl.store(total_B + b, 0.5 * (tl.sum(sum_W * sum_W, 0) - tl.sum(tl.sum(emb_GW * emb_GW, 0), 0)))


@triton.jit
def _pair_sum_gradient(emb, grad_B, out, F: tl.constexpr, D: tl.constexpr, G: tl.constexpr, W: tl.constexpr):
    b = tl.program_id(0).to(tl.int64)
    emb_GW, at_GW, here_GW = _row(emb, b, F, D, G, W)
    grad_GW = tl.load(grad_B + b) * (tl.sum(emb_GW, 0)[None, :] - emb_GW)
    tl.store(out + at_GW, grad_GW, mask=here_GW)


def fits(emb_BFD: Tensor) -> bool:
    """Whether the kernel supports the shape."""
    shape = _constants(emb_BFD)
    return shape["G"] * shape["W"] <= LARGEST


def pair_sum(emb_BFD: Tensor) -> Tensor:
    """Sum over all pairs of fields of their inner products (B,)."""
    total_B: Tensor = _PairSum.apply(emb_BFD)
    return total_B


class _PairSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, emb_BFD):
        emb_BFD = emb_BFD.contiguous()
        ctx.save_for_backward(emb_BFD)
        total_B = emb_BFD.new_empty(len(emb_BFD))
        if len(emb_BFD):
            _pair_sum[(len(emb_BFD),)](emb_BFD, total_B, **_constants(emb_BFD))
        return total_B

    @staticmethod
    def backward(ctx, *grads):
        (emb_BFD,) = ctx.saved_tensors
        out_BFD = torch.empty_like(emb_BFD)
        if len(emb_BFD):
            _pair_sum_gradient[(len(emb_BFD),)](
                emb_BFD, grads[0].contiguous(), out_BFD, **_constants(emb_BFD)
            )
        return out_BFD


def _constants(emb_BFD):
    _, fields, size = emb_BFD.shape
    tile, width = triton.next_power_of_2(fields), triton.next_power_of_2(size)
    return {"F": fields, "D": size, "G": tile, "W": width, "num_warps": 1 if tile * width <= 2048 else 4}
