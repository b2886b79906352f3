"""bfloat16 MLPs with widths padded for tensor cores: the counterpart of `nn.mlp.MLP` under autocast.

Tensor cores process eight values at once, so matrices with row lengths that are no multiple of eight take two
to four times as long; here all are padded. A constant 1 is appended to the inputs, with the bias as its
weight, so that the bias' gradient, a sum over the batch, is part of the weights' product. An additional row
of weights copies the 1 to the outputs, which after ReLU are the inputs of the next layer.

B batch, N inputs, M outputs, X and Y are N + 1 and M + 1 rounded up to multiples of eight, Z blocks of rows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import pad

EIGHT = 8
BLOCK = 1024
WIDEST = 4096  # maximum number of outputs
ROWS = 16  # processed sequentially by a program


class Layer(NamedTuple):
    """A linear layer, with an optional layer norm before ReLU and optional dropout after it."""

    weight_MN: Tensor
    bias_M: Tensor
    scale_M: Tensor | None = None  # of the layer norm
    shift_M: Tensor | None = None
    eps: float = 0.0
    dropped: int = 0  # dropout probability times 256


@triton.jit
def _widen(x_BN, last_B, out_BX, B, N, X, STRIDE, STEP, BLOCK: tl.constexpr):
    """Out = [x, last, 0 ...]; of the extra rows, the first one copies the constant 1."""
    b = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x_BN + b * STRIDE + column, mask=(column < N) & (b < B), other=0.0).to(tl.float32)
    last = tl.load(last_B + b * STEP, mask=b < B, other=0.0)
    last = tl.where(b == B, 1.0, last)
    value = tl.where(column == N, last, value)
    tl.store(out_BX + b * X + column, value.to(tl.bfloat16), mask=column < X)


@triton.jit
def _activate(y_BY, scale_M, shift_M, byte_BM, out_BY, mean_B, rate_B, M, Y, EPS, FACTOR,
              NORM: tl.constexpr, DROPPED: tl.constexpr, W: tl.constexpr):  # fmt: skip
    """Norm, ReLU and dropout of the outputs, with the constant 1 appended."""
    b, column = tl.program_id(0).to(tl.int64), tl.arange(0, W)
    here = column < M
    y = tl.load(y_BY + b * Y + column, mask=here, other=0.0).to(tl.float32)
    if NORM:
        mean = tl.sum(y, 0) / M
        off = tl.where(here, y - mean, 0.0)
        rate = tl.rsqrt(tl.sum(off * off, 0) / M + EPS)
        tl.store(mean_B + b, mean)
        tl.store(rate_B + b, rate)
        y = off * rate * tl.load(scale_M + column, mask=here, other=0.0)
        y += tl.load(shift_M + column, mask=here, other=0.0)
    y = tl.maximum(y, 0.0)
    if DROPPED:
        kept = tl.load(byte_BM + b * M + column, mask=here, other=0).to(tl.int32) >= DROPPED
        y = tl.where(kept, y * FACTOR, 0.0)
    y = tl.where(column == M, 1.0, y)
    tl.store(out_BY + b * Y + column, y.to(tl.bfloat16), mask=column < Y)


@triton.jit
def _activate_gradient(grad_BY, out_BY, y_BY, scale_M, mean_B, rate_B, own_BY, part_Z2M, B, M, Y, FACTOR,
                       NORM: tl.constexpr, ROWS: tl.constexpr, W: tl.constexpr):  # fmt: skip
    """Gradient of the outputs, and partial sums per block of rows of the gradients of scale and shift."""
    column = tl.arange(0, W)
    here = column < M
    of_scale = tl.zeros([W], tl.float32)
    of_shift = tl.zeros([W], tl.float32)
    for row in range(ROWS):
        b = (tl.program_id(0) * ROWS + row).to(tl.int64)
        there = here & (b < B)
        grad = tl.load(grad_BY + b * Y + column, mask=there, other=0.0).to(tl.float32) * FACTOR
        out = tl.load(out_BY + b * Y + column, mask=there, other=0.0)
        grad = tl.where(out > 0, grad, 0.0)  # mask of ReLU and dropout
        if NORM:
            y = tl.load(y_BY + b * Y + column, mask=there, other=0.0).to(tl.float32)
            rate = tl.load(rate_B + b, mask=b < B, other=0.0)
            normed = tl.where(there, (y - tl.load(mean_B + b, mask=b < B, other=0.0)) * rate, 0.0)
            of_scale += grad * normed
            of_shift += grad
            grad *= tl.load(scale_M + column, mask=here, other=0.0)
            along = tl.sum(grad * normed, 0) / M
            grad = rate * (grad - tl.sum(grad, 0) / M - normed * along)
        grad = tl.where(there, grad, 0.0)
        tl.store(own_BY + b * Y + column, grad.to(tl.bfloat16), mask=(column < Y) & (b < B))
    if NORM:
        at = part_Z2M + tl.program_id(0).to(tl.int64) * (2 * M) + column
        tl.store(at, of_scale, mask=here)
        tl.store(at + M, of_shift, mask=here)


def widened(x_BN: Tensor, last_B: Tensor, more: bool = False) -> Tensor:
    """X in bfloat16 with an additional column, zero-padded to a multiple of eight (B, X).

    Args:
        x_BN: float32 or bfloat16.
        last_B: the column, float32; a scalar is broadcast.
        more: also pads the rows; the first additional one selects the column.
    """
    x_BN = x_BN if x_BN.stride(1) == 1 else x_BN.contiguous()
    batch, inputs = x_BN.shape
    rows, width = up(batch + 1) if more else batch, up(inputs + 1)
    out_BX = x_BN.new_empty(rows, width, dtype=torch.bfloat16)
    if rows:
        block = min(BLOCK, triton.next_power_of_2(width))
        step = 0 if last_B.numel() == 1 < batch else 1
        given = batch, inputs, width, x_BN.stride(0), step
        _widen[rows, triton.cdiv(width, block)](x_BN, last_B, out_BX, *given, BLOCK=block)
    return out_BX


def up(n: int) -> int:
    """Round up to a multiple of eight."""
    return -(-n // EIGHT) * EIGHT


def fits(layers: Sequence[Layer]) -> bool:
    """Whether the kernels support the widths of all hidden layers."""
    return all(len(layer.weight_MN) < WIDEST for layer in layers[:-1])


def chain(x_BN: Tensor, layers: Sequence[Layer]) -> Tensor:
    """Apply linear layers with ReLU, norms and dropout in between: outputs (B, M), bfloat16.

    Args:
        x_BN: float32 or bfloat16.
        layers: the last one must have no norm or dropout.
    """
    tensors = [x for layer in layers for x in layer[:4]]
    y_BM: Tensor = _Chain.apply(x_BN, [layer[4:] for layer in layers], *tensors)
    return y_BM


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_BN, settings, *tensors):
        layers = [Layer(*tensors[4 * i : 4 * i + 4], *own) for i, own in enumerate(settings)]
        saved = []
        with torch.autocast(x_BN.device.type, enabled=False):
            input_BX = widened(x_BN, x_BN.new_ones((), dtype=torch.float32))
            for layer in layers:
                weight_YX = widened(layer.weight_MN, layer.bias_M, more=True)
                y_BY = input_BX @ weight_YX.T
                out_BY, norm = (y_BY, (None,) * 3) if layer is layers[-1] else _activated(y_BY, layer)
                saved += [input_BX, weight_YX, layer.scale_M, *norm]
                input_BX = out_BY
        ctx.save_for_backward(*saved)
        ctx.kind, ctx.layers = x_BN.dtype, [(*layer.weight_MN.shape, layer.dropped) for layer in layers]
        return out_BY[:, : ctx.layers[-1][0]].contiguous()  # a copy, as it may be modified in place

    @staticmethod
    def backward(ctx, *grads):
        saved, found = ctx.saved_tensors, []
        with torch.autocast(grads[0].device.type, enabled=False):
            grad_BY = pad(grads[0], (0, saved[-5].shape[0] - grads[0].shape[1]))
            of_norm = None, None
            for number in reversed(range(len(ctx.layers))):
                input_BX, weight_YX = saved[6 * number : 6 * number + 2]
                outputs, inputs, _ = ctx.layers[number]
                grad_YX = grad_BY.T @ input_BX
                found = [
                    grad_YX[:outputs, :inputs].float(),
                    grad_YX[:outputs, inputs].float(),
                    *of_norm,
                    *found,
                ]
                if number:  # the gradient of the constant 1 only reaches constants
                    before = saved[6 * number - 4 : 6 * number]
                    outputs, _, dropped = ctx.layers[number - 1]
                    grad_BY, *of_norm = _through(grad_BY @ weight_YX, input_BX, outputs, dropped, *before)
            grad_BN = None
            if ctx.needs_input_grad[0]:
                grad_BN = (grad_BY @ weight_YX)[:, :inputs].to(ctx.kind)
        return grad_BN, None, *found


def _activated(y_BY, layer):
    """Activation of a hidden layer, and what the backward pass of its norm needs: inputs, means and rates."""
    if layer.scale_M is None and not layer.dropped:
        return y_BY.relu_(), (None,) * 3
    batch, outputs, norm = len(y_BY), len(layer.weight_MN), layer.scale_M is not None
    byte_BM, (mean_B, rate_B) = y_BY, y_BY.new_empty(2, batch, dtype=torch.float32).unbind()
    if layer.dropped:
        words = torch.empty(-(-batch * outputs // 8), dtype=torch.int64, device=y_BY.device)
        byte_BM = words.random_(-(2**63), None).view(torch.uint8)
    out_BY = torch.empty_like(y_BY) if norm else y_BY
    scale_M, shift_M = (layer.scale_M, layer.shift_M) if norm else (y_BY, y_BY)
    if batch:
        given = outputs, y_BY.shape[1], layer.eps, _factor(layer.dropped)
        _activate[(batch,)](
            y_BY, scale_M, shift_M, byte_BM, out_BY, mean_B, rate_B, *given,
            NORM=norm, DROPPED=layer.dropped, **_width(y_BY),
        )  # fmt: skip
    return out_BY, (y_BY, mean_B, rate_B) if norm else (None,) * 3


def _through(grad_BY, out_BY, outputs, dropped, scale_M, y_BY, mean_B, rate_B):
    """Gradients of a hidden layer's linear outputs, and of its norm's scale and shift."""
    norm = scale_M is not None
    if not norm and not dropped:
        return torch.ops.aten.threshold_backward(grad_BY, out_BY, 0), None, None
    batch, width = grad_BY.shape
    blocks, own_BY = triton.cdiv(batch, ROWS), torch.empty_like(grad_BY)
    part_Z2M = grad_BY.new_empty(blocks, 2, outputs, dtype=torch.float32)
    looked_up = (y_BY, scale_M, mean_B, rate_B) if norm else (grad_BY,) * 4
    if batch:
        given = own_BY, part_Z2M, batch, outputs, width, _factor(dropped)
        constants = {"NORM": norm, "ROWS": ROWS, **_width(grad_BY)}
        _activate_gradient[(blocks,)](grad_BY, out_BY, *looked_up, *given, **constants)
    return own_BY, *(part_Z2M.sum(0) if norm else (None, None))


def _factor(dropped):
    return 256 / (256 - dropped)


def _width(y_BY):
    width = triton.next_power_of_2(y_BY.shape[1])
    return {"W": width, "num_warps": 4 if width <= 1024 else 8}
