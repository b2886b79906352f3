"""Row-wise optimizers: gradients of equal rows are added up, and each touched row is moved, in one pass.

The twin of `nn.touched` and `optim.row_wise` together. Looked-up rows are sorted and cut into chunks. A row
whose places lie within one chunk is finished there: its gradients, state and weights are read once and
written once. Of a row that goes on into the next chunk each chunk leaves its sum, and a second kernel adds
these up. How many rows there are is never asked, so the host waits for nothing, and every sum has one fixed
order.

N rows looked up, L of them in a chunk, X chunks, D width of a row, W the power of two that holds it.
"""

import math
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

WIDEST = 2048  # weights of a row that a program holds
TOGETHER = 32  # sums of chunks that are added at once


@triton.jit
def _move(weight, state, step, rate, row_L, grad_LW, count_L, moved_L, D, W: tl.constexpr,
          CLIP: tl.constexpr, RATIO: tl.constexpr, FLOOR: tl.constexpr, ADAGRAD: tl.constexpr,
          BETA1: tl.constexpr, BETA2: tl.constexpr, LOG1: tl.constexpr, LOG2: tl.constexpr,
          EPS: tl.constexpr, DECAY: tl.constexpr):  # fmt: skip
    d_W = tl.arange(0, W)[None, :]
    here_LW = moved_L[:, None] & (d_W < D)
    at_LW = row_L[:, None] * D + d_W
    weight_LW = tl.load(weight + at_LW, mask=here_LW, other=0.0)
    if CLIP:  # see `optim.cowclip`
        norm_L = tl.sqrt(tl.sum(weight_LW * weight_LW, 1))
        most_L = tl.maximum(count_L, 1.0) * tl.maximum(RATIO * norm_L, FLOOR)
        length_L = tl.sqrt(tl.sum(tl.where(here_LW, grad_LW * grad_LW, 0.0), 1))
        grad_LW = grad_LW * (most_L / tl.maximum(length_L, most_L))[:, None]
    grad_LW += DECAY * weight_LW
    lr = tl.load(rate)
    if ADAGRAD:
        square_L = tl.load(state + row_L, mask=moved_L, other=0.0)
        square_L += tl.sum(tl.where(here_LW, grad_LW * grad_LW, 0.0), 1) / D
        tl.store(state + row_L, square_L, mask=moved_L)
        weight_LW -= lr * grad_LW / (tl.sqrt(square_L) + EPS)[:, None]
    else:
        first_at_LW = 2 * row_L[:, None] * D + d_W
        first_LW = tl.load(state + first_at_LW, mask=here_LW, other=0.0)
        second_LW = tl.load(state + first_at_LW + D, mask=here_LW, other=0.0)
        first_LW += (1 - BETA1) * (grad_LW - first_LW)
        second_LW = BETA2 * second_LW + (1 - BETA2) * grad_LW * grad_LW
        tl.store(state + first_at_LW, first_LW, mask=here_LW)
        tl.store(state + first_at_LW + D, second_LW, mask=here_LW)
        steps = tl.load(step).to(tl.float64)  # a small beta^t is lost in single precision
        bias1 = (1 - tl.exp(steps * LOG1)).to(tl.float32)
        bias2 = (1 - tl.exp(steps * LOG2)).to(tl.float32)
        weight_LW -= lr / bias1 * first_LW / (tl.sqrt(second_LW / bias2) + EPS)
    tl.store(weight + at_LW, weight_LW, mask=here_LW)


@triton.jit
def _within(sorted_N, from_N, grad, head, tail, heads, tails, N, weight, state, step, rate, D,
            L: tl.constexpr, W: tl.constexpr, CLIP: tl.constexpr, RATIO: tl.constexpr,
            FLOOR: tl.constexpr, ADAGRAD: tl.constexpr, BETA1: tl.constexpr, BETA2: tl.constexpr,
            LOG1: tl.constexpr, LOG2: tl.constexpr, EPS: tl.constexpr, DECAY: tl.constexpr):  # fmt: skip
    chunk = tl.program_id(0)
    l_L = tl.arange(0, L)
    n_L = chunk * L + l_L
    there_L = n_L < N
    row_L = tl.load(sorted_N + n_L, mask=there_L, other=-1).to(tl.int64)
    before_L = tl.load(sorted_N + n_L - 1, mask=there_L & (n_L > 0), other=-1).to(tl.int64)
    behind = (chunk + 1) * L
    next_row = tl.load(sorted_N + behind, mask=behind < N, other=-1).to(tl.int64)
    d_W = tl.arange(0, W)[None, :]
    here_LW = there_L[:, None] & (d_W < D)
    place_L = tl.load(from_N + n_L, mask=there_L, other=0)
    grad_LW = tl.load(grad + place_L[:, None] * D + d_W, mask=here_LW, other=0.0)
    same_LL = (row_L[:, None] == row_L[None, :]).to(tl.float32)
    sum_LW = tl.dot(same_LL, grad_LW, input_precision="ieee")  # at each place the sum over its row's
    count_L = tl.sum(tl.where(there_L[None, :], same_LL, 0.0), 1)
    left_LW = chunk * D + d_W + tl.zeros([L, 1], tl.int32)
    tl.store(head + left_LW, sum_LW, mask=here_LW & (l_L == 0)[:, None])
    tl.store(tail + left_LW, sum_LW, mask=here_LW & (l_L == L - 1)[:, None])
    if CLIP:
        chunk_L = chunk + tl.zeros([L], tl.int32)
        tl.store(heads + chunk_L, count_L, mask=there_L & (l_L == 0))
        tl.store(tails + chunk_L, count_L, mask=there_L & (l_L == L - 1))
    done_L = there_L & (row_L != before_L) & (row_L != next_row)
    _move(weight, state, step, rate, row_L, sum_LW, count_L, done_L, D, W, CLIP, RATIO, FLOOR, ADAGRAD,
          BETA1, BETA2, LOG1, LOG2, EPS, DECAY)  # fmt: skip


@triton.jit
def _across(sorted_N, head, tail, heads, tails, N, weight, state, step, rate, D,
            L: tl.constexpr, K: tl.constexpr, W: tl.constexpr, CLIP: tl.constexpr, RATIO: tl.constexpr,
            FLOOR: tl.constexpr, ADAGRAD: tl.constexpr, BETA1: tl.constexpr, BETA2: tl.constexpr,
            LOG1: tl.constexpr, LOG2: tl.constexpr, EPS: tl.constexpr,
            DECAY: tl.constexpr):  # fmt: skip
    chunk = tl.program_id(0)
    begin, behind = chunk * L, (chunk + 1) * L
    row = tl.load(sorted_N + behind - 1).to(tl.int64)
    first = tl.load(sorted_N + begin).to(tl.int64)
    before = tl.load(sorted_N + begin - 1, mask=begin > 0, other=-1).to(tl.int64)
    goes_on = tl.load(sorted_N + behind).to(tl.int64) == row
    if goes_on & ((row != first) | (before != row)):  # it begins in this chunk
        d_W = tl.arange(0, W)[None, :]
        sum_1W = tl.load(tail + chunk * D + d_W, mask=d_W < D, other=0.0)
        count_1 = tl.zeros([1], tl.float32)
        if CLIP:
            count_1 += tl.load(tails + chunk)
        at, more = chunk + 1, 1
        while more > 0:
            x_K = at + tl.arange(0, K)
            row_K = tl.load(sorted_N + x_K * L, mask=x_K * L < N, other=-1).to(tl.int64)
            same_K = row_K == row
            head_KW = tl.load(head + x_K[:, None] * D + d_W, mask=same_K[:, None] & (d_W < D), other=0.0)
            sum_1W += tl.sum(head_KW, 0)[None, :]
            if CLIP:
                count_1 += tl.sum(tl.load(heads + x_K, mask=same_K, other=0.0))
            more = (tl.sum(same_K.to(tl.int32)) == K).to(tl.int32)
            at += K
        row_1 = row + tl.zeros([1], tl.int64)
        _move(weight, state, step, rate, row_1, sum_1W, count_1, row_1 >= 0, D, W, CLIP, RATIO, FLOOR,
              ADAGRAD, BETA1, BETA2, LOG1, LOG2, EPS, DECAY)  # fmt: skip


def move_rows(
    table: Tensor,
    grad: Tensor,
    state: Tensor,
    step: Tensor,
    rate: Tensor,
    group: dict[str, Any],
    adagrad: bool,
    bound: tuple[float, float] | None = None,
) -> None:
    """Move the rows that a sparse gradient names, each as often as it may; see `optim.row_wise`.

    Args:
        table: rows of D weights.
        grad: sparse; a row named several times has the sum of its gradients.
        state: both moments of each row side by side, or the sums of squares.
        step: number of steps, on the device; Adagrad does not need it.
        rate: the learning rate, on the device.
        group: the optimizer's settings.
        adagrad: move as Adagrad, not as Adam.
        bound: ratio and floor of `optim.cowclip`, if gradients are to be clipped.
    """
    row_N, grad_ND = grad._indices()[0], grad._values().contiguous()
    if not len(row_N):
        return
    if table.shape[0] < 2**31:
        row_N = row_N.int()  # half the digits to sort by
    sorted_N, from_N = row_N.sort(stable=True)
    width = triton.next_power_of_2(max(16, table.shape[1]))
    length = 32 if width <= 64 else 16
    chunks = triton.cdiv(len(row_N), length)
    head_XD, tail_XD = (grad_ND.new_empty(chunks, table.shape[1]) for _ in range(2))
    heads_X, tails_X = (grad_ND.new_empty(chunks) for _ in range(2))  # how many gradients these are sums of
    (beta1, beta2), moving = group["betas"], (table, state, step, rate, table.shape[1])
    constants = {"L": length, "W": width, "ADAGRAD": adagrad, "BETA1": beta1, "BETA2": beta2}
    constants |= {"LOG1": math.log(beta1), "LOG2": math.log(beta2)}
    constants |= {"CLIP": bound is not None, "RATIO": (bound or (0, 0))[0], "FLOOR": (bound or (0, 0))[1]}
    constants |= {"EPS": group["eps"], "DECAY": group["weight_decay"]}
    warps = 4 if length * width <= 4096 else 8
    left = head_XD, tail_XD, heads_X, tails_X, len(row_N)
    _within[(chunks,)](sorted_N, from_N, grad_ND, *left, *moving, **constants, num_warps=warps)
    if chunks > 1:
        together = max(2, min(TOGETHER, 2048 // width))
        _across[(chunks - 1,)](sorted_N, *left, *moving, **constants, K=together, num_warps=1)


def fits(table: Tensor) -> bool:
    """Whether a program can hold a row."""
    return table.dim() == 2 and table.shape[1] <= WIDEST and table.is_contiguous()
