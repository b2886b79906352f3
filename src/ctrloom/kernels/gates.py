"""The gated sum of batch-normalised values: the counterpart of `nn.interactions.Gates` in training.

With mean m, standard deviation s and gate a of each interaction, the sum over interactions of a (x - m) / s
is the product of x and a / s, minus a constant. The normalised values are therefore never stored: x is read
for its moments, for the sum, for the gradient of the gates and for its own.

B batch, P interactions, Y blocks of rows.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import BatchNorm1d

TILE_B, TILE_P = 16, 128
ROWS = 128  # per block


@triton.jit
def _gate_sums(x_BP, sum_Y2P, B, P, ROWS: tl.constexpr, TILE_B: tl.constexpr, TILE_P: tl.constexpr):
    """Sums of x and x^2 over a block of rows, shifted by the first row's x against cancellation."""
    block, p = tl.program_id(0), tl.program_id(1) * TILE_P + tl.arange(0, TILE_P)
    first = tl.load(x_BP + p, mask=p < P, other=0.0)
    total = tl.zeros([TILE_P], tl.float32)
    square = tl.zeros([TILE_P], tl.float32)
    for start in range(0, ROWS, TILE_B):
        b = (block * ROWS + start + tl.arange(0, TILE_B)).to(tl.int64)
        here = (b < B)[:, None] & (p < P)[None, :]
        x = tl.load(x_BP + b[:, None] * P + p[None, :], mask=here, other=0.0)
        off = tl.where(here, x - first[None, :], 0.0)
        total += tl.sum(off, 0)
        square += tl.sum(off * off, 0)
    at = sum_Y2P + block.to(tl.int64) * (2 * P) + p
    tl.store(at, total, mask=p < P)
    tl.store(at + P, square, mask=p < P)


def _moments(x_BP: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and mean of each column (P,), two to three times faster than torch's."""
    batch, count = x_BP.shape
    grid = triton.cdiv(batch, ROWS), triton.cdiv(count, TILE_P)
    sum_Y2P = x_BP.new_empty(grid[0], 2, count)
    _gate_sums[grid](x_BP, sum_Y2P, batch, count, ROWS=ROWS, TILE_B=TILE_B, TILE_P=TILE_P)
    off_P, square_P = sum_Y2P.sum(0).div_(batch).unbind()
    return (square_P - off_P.square()).clamp_min_(0), x_BP[0] + off_P


@triton.jit
def _gate_gradient(x_BP, grad_B, scale_P, slope_P, shift_P, out_BP, B, P, TILE_B: tl.constexpr,
              TILE_P: tl.constexpr):  # fmt: skip
    """Out = grad * scale - x * slope + shift."""
    b = (tl.program_id(0) * TILE_B + tl.arange(0, TILE_B)).to(tl.int64)
    p = tl.program_id(1) * TILE_P + tl.arange(0, TILE_P)
    here = (b < B)[:, None] & (p < P)[None, :]
    at = b[:, None] * P + p[None, :]
    x = tl.load(x_BP + at, mask=here, other=0.0)
    grad = tl.load(grad_B + b, mask=b < B, other=0.0)
    scale = tl.load(scale_P + p, mask=p < P, other=0.0)
    slope = tl.load(slope_P + p, mask=p < P, other=0.0)
    shift = tl.load(shift_P + p, mask=p < P, other=0.0)
    tl.store(out_BP + at, grad[:, None] * scale - x * slope + shift, mask=here)


def gated_norm(x_BP: Tensor, gate_P: Tensor, norm: BatchNorm1d) -> Tensor:
    """Sum (B,) of gate * norm(x) over the interactions; updates the norm's running statistics."""
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    running = norm.running_mean, norm.running_var, norm.momentum, norm.eps
    total_B: Tensor = _GatedNorm.apply(x_BP, gate_P, *running)
    return total_B


class _GatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_BP, gate_P, running_mean_P, running_variance_P, momentum, eps):
        x_BP = x_BP.contiguous()
        with torch.autocast(x_BP.device.type, enabled=False):
            variance_P, mean_P = _moments(x_BP)
            running_mean_P.lerp_(mean_P, momentum)
            running_variance_P.lerp_(variance_P * (len(x_BP) / (len(x_BP) - 1)), momentum)
            inverse_P = (variance_P + eps).rsqrt()
            scale_P = gate_P * inverse_P
            ctx.save_for_backward(x_BP, mean_P, inverse_P, scale_P)
            return x_BP @ scale_P - mean_P @ scale_P

    @staticmethod
    def backward(ctx, *grads):
        x_BP, mean_P, inverse_P, scale_P = ctx.saved_tensors
        batch, count = x_BP.shape
        with torch.autocast(x_BP.device.type, enabled=False):
            grad_B = grads[0].contiguous()
            gate_grad_P = inverse_P * (x_BP.T @ grad_B - mean_P * grad_B.sum())
            slope_P = inverse_P * scale_P * gate_grad_P / batch
            shift_P = mean_P * slope_P - scale_P * grad_B.mean()
            out_BP = torch.empty_like(x_BP)
            grid = triton.cdiv(batch, TILE_B), triton.cdiv(count, TILE_P)
            _gate_gradient[grid](
                x_BP, grad_B, scale_P, slope_P, shift_P, out_BP, batch, count, TILE_B, TILE_P
            )
        return out_BP, gate_grad_P, None, None, None, None
