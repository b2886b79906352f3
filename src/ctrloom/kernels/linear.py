"""Perceptrons in half precision whose widths suit tensor cores: the twin of `nn.mlp` under autocast.

Tensor cores read eight numbers at once, so matrices whose rows are no multiple of eight long take two to four
times as long. Here all are. Behind the inputs stands a one, whose weight is the bias: the bias' gradient, a
sum over the batch, is part of the weights' product then. One more row of weights brings that one to the
outputs, which with ReLU taken in place are the next layer's inputs as they are.

B batch, N inputs, M outputs, X and Y multiples of eight that hold N + 1 and M + 1.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import pad

EIGHT = 8
BLOCK = 1024


@triton.jit
def _widen(x_BN, last_B, out_BX, B, N, X, STRIDE, STEP, BLOCK: tl.constexpr):
    """Out = x, then `last`, then zeros; of rows more than x has the first hands the one on."""
    b = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x_BN + b * STRIDE + column, mask=(column < N) & (b < B), other=0.0).to(tl.float32)
    last = tl.load(last_B + b * STEP, mask=b < B, other=0.0)
    last = tl.where(b == B, 1.0, last)
    value = tl.where(column == N, last, value)
    tl.store(out_BX + b * X + column, value.to(tl.bfloat16), mask=column < X)


def widened(x_BN: Tensor, last_B: Tensor, more: bool = False) -> Tensor:
    """X in bfloat16 with a column more and zeros up to a multiple of eight (B, X).

    Args:
        x_BN: float32 or bfloat16.
        last_B: the column, float32; one number stands for all of it.
        more: as many rows too, of which the first new one picks the column.
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
    """To a multiple of eight."""
    return -(-n // EIGHT) * EIGHT


def chain(x_BN: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Linear maps with ReLU between them: the outputs of the last (B, M), bfloat16.

    Args:
        x_BN: float32 or bfloat16.
        layers: weights (M, N) and bias (M,) of each map.
    """
    y_BM: Tensor = _Chain.apply(x_BN, *(x for layer in layers for x in layer))
    return y_BM


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_BN, *parameters):
        weights, biases = parameters[::2], parameters[1::2]
        with torch.autocast(x_BN.device.type, enabled=False):
            inputs = [widened(x_BN, x_BN.new_ones((), dtype=torch.float32))]
            wide = [widened(w_MN, b_M, more=True) for w_MN, b_M in zip(weights, biases, strict=True)]
            for w_YX in wide[:-1]:
                inputs.append((inputs[-1] @ w_YX.T).relu_())
            y_BY = inputs[-1] @ wide[-1].T
        ctx.save_for_backward(*inputs, *wide)
        ctx.kind, ctx.shapes = x_BN.dtype, [w_MN.shape for w_MN in weights]
        return y_BY[:, : len(weights[-1])]

    @staticmethod
    def backward(ctx, *grads):
        count = len(ctx.shapes)
        inputs, wide = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        found = []
        with torch.autocast(grads[0].device.type, enabled=False):
            grad_BY = pad(grads[0], (0, len(wide[-1]) - grads[0].shape[1]))
            for layer in reversed(range(count)):
                outputs, width = ctx.shapes[layer]
                grad_YX = grad_BY.T @ inputs[layer]
                found += [grad_YX[:outputs, width].float(), grad_YX[:outputs, :width].float()]
                if layer or ctx.needs_input_grad[0]:
                    grad_BY = grad_BY @ wide[layer]
                if layer:  # what ReLU let pass; the ones' own gradient reaches nothing but ones
                    grad_BY = torch.ops.aten.threshold_backward(grad_BY, inputs[layer], 0)
        grad_BN = grad_BY[:, : ctx.shapes[0][1]].to(ctx.kind) if ctx.needs_input_grad[0] else None
        return grad_BN, *reversed(found)
