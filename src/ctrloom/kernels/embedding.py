"""Table lookups, and row-wise optimizer updates that sum the gradients of repeated rows.

The counterpart of `nn.sparse_rows` and `optim.row_wise`. Lookups are sorted by row and cut into chunks. A row
that lies within one chunk is updated there, with one read and one write of its state and weights. For a row
that spans several chunks, each chunk stores a partial sum; a second kernel adds these and updates the row.
The number of distinct rows is never needed, so there is no host sync, and the order of every sum is fixed.

N lookups, L of them in a chunk, X chunks, D width of a row, W the next power of two.
"""

import math
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

WIDEST = 2048  # maximum row width
TOGETHER = 32  # partial sums that are added at once
SHAPES = {1: (64, 1), 16: (32, 1), 32: (16, 1), 64: (16, 2)}  # by width: lookups per chunk, and warps
LOOKED_UP = 1024  # weights gathered per program


@triton.jit
def _gather(table, row_N, out, N, D: tl.constexpr, L: tl.constexpr, BLOCK: tl.constexpr):
    """Gather L rows per program; torch's kernel copies one row per block, which leaves most threads idle."""
    at = tl.arange(0, BLOCK)
    n = tl.program_id(0).to(tl.int64) * L + at // D
    there = (at < L * D) & (n < N)
    row = tl.load(row_N + n, mask=there, other=0).to(tl.int64)
    value = tl.load(table + row * D + at % D, mask=there, other=0.0)
    tl.store(out + tl.program_id(0).to(tl.int64) * (L * D) + at, value, mask=there)


def gathered(table: Tensor, row_N: Tensor) -> Tensor:
    """Look up rows of a table (N, D)."""
    width, row_N = table.shape[1], row_N.contiguous()
    out_ND = table.new_empty(len(row_N), width)
    rows = max(1, LOOKED_UP // width)
    block = triton.next_power_of_2(rows * width)
    if len(row_N):
        grid = (triton.cdiv(len(row_N), rows),)
        _gather[grid](table, row_N, out_ND, len(row_N), D=width, L=rows, BLOCK=block)
    return out_ND


@triton.jit
def _begin(step, rate, rates, LOG1: tl.constexpr, LOG2: tl.constexpr):
    """Increment the step; store the bias-corrected learning rate and the second moment's bias correction."""
    steps = tl.load(step) + 1
    tl.store(step, steps)
    bias1 = 1 - tl.exp(steps.to(tl.float64) * LOG1)  # float32 would lose a small beta^t
    bias2 = 1 - tl.exp(steps.to(tl.float64) * LOG2)
    tl.store(rates, (tl.load(rate) / bias1).to(tl.float32))
    tl.store(rates + 1, bias2.to(tl.float32))


@triton.jit
def _move(weight, state, rates, row_L, grad_LW, count_L, moved_L, D: tl.constexpr, W: tl.constexpr,
          CLIP: tl.constexpr, RATIO: tl.constexpr, FLOOR: tl.constexpr, ADAGRAD: tl.constexpr,
          BETA1: tl.constexpr, BETA2: tl.constexpr, EPS: tl.constexpr,
          DECAY: tl.constexpr):  # fmt: skip
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
    lr = tl.load(rates)
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
        weight_LW -= lr * first_LW / (tl.sqrt(second_LW / tl.load(rates + 1)) + EPS)
    tl.store(weight + at_LW, weight_LW, mask=here_LW)


@triton.jit
def _add(fresh_a, sum_a, fresh_b, sum_b):
    """Segmented sum, which restarts where `fresh` is set."""
    return fresh_a | fresh_b, tl.where(fresh_b > 0, sum_b, sum_a + sum_b)


@triton.jit
def _within(sorted_N, from_N, grad, head, tail, heads, tails, N, weight, state, rates,
            L: tl.constexpr, D: tl.constexpr, W: tl.constexpr, CLIP: tl.constexpr, RATIO: tl.constexpr,
            FLOOR: tl.constexpr, ADAGRAD: tl.constexpr, BETA1: tl.constexpr, BETA2: tl.constexpr,
            EPS: tl.constexpr, DECAY: tl.constexpr):  # fmt: skip
    chunk = tl.program_id(0)
    begin, l_L = chunk * L, tl.arange(0, L)
    n_L = begin + l_L
    there_L = n_L < N
    row_L = tl.load(sorted_N + n_L, mask=there_L, other=-1).to(tl.int64)
    next_L = tl.load(sorted_N + n_L + 1, mask=n_L + 1 < N, other=-1).to(tl.int64)
    first = tl.load(sorted_N + begin).to(tl.int64)
    before = tl.load(sorted_N + begin - 1, mask=begin > 0, other=-1).to(tl.int64)
    d_W = tl.arange(0, W)[None, :]
    here_LW = there_L[:, None] & (d_W < D)
    place_L = tl.load(from_N + n_L, mask=there_L, other=0)
    grad_LW = tl.load(grad + place_L[:, None] * D + d_W, mask=here_LW, other=0.0)
    same_LL = row_L[:, None] == row_L[None, :]
    if W == 1:
        sum_LW = tl.sum(tl.where(same_LL, tl.trans(grad_LW), 0.0), 1)[:, None]
    else:
        before_L = tl.load(sorted_N + n_L - 1, mask=there_L & (l_L > 0), other=-1).to(tl.int64)
        fresh_LW = (row_L != before_L)[:, None].to(tl.int32) + tl.zeros([L, W], tl.int32)
        _, sum_LW = tl.associative_scan((fresh_LW, grad_LW), 0, _add)
    # At a row's last lookup in the chunk, the sum covers all its lookups there.
    last_L = there_L & ((row_L != next_L) | (l_L == L - 1))
    count_L = l_L.to(tl.float32)
    if CLIP:
        count_L = tl.sum(tl.where(same_LL & there_L[None, :], 1.0, 0.0), 1)
        chunk_L = chunk + tl.zeros([L], tl.int32)
        tl.store(heads + chunk_L, count_L, mask=last_L & (row_L == first))
        tl.store(tails + chunk_L, count_L, mask=there_L & (l_L == L - 1))
    left_LW = chunk * D + d_W + tl.zeros([L, 1], tl.int32)
    tl.store(head + left_LW, sum_LW, mask=here_LW & (last_L & (row_L == first))[:, None])
    tl.store(tail + left_LW, sum_LW, mask=here_LW & (l_L == L - 1)[:, None])
    done_L = last_L & (row_L != next_L) & (row_L != before)
    _move(weight, state, rates, row_L, sum_LW, count_L, done_L, D, W, CLIP, RATIO, FLOOR, ADAGRAD, BETA1,
          BETA2, EPS, DECAY)  # fmt: skip


@triton.jit
def _across(sorted_N, head, tail, heads, tails, N, weight, state, rates,
            L: tl.constexpr, K: tl.constexpr, D: tl.constexpr, W: tl.constexpr, CLIP: tl.constexpr,
            RATIO: tl.constexpr, FLOOR: tl.constexpr, ADAGRAD: tl.constexpr, BETA1: tl.constexpr,
            BETA2: tl.constexpr, EPS: tl.constexpr, DECAY: tl.constexpr):  # fmt: skip
    chunk = tl.program_id(0)
    begin, behind = chunk * L, (chunk + 1) * L
    row = tl.load(sorted_N + behind - 1).to(tl.int64)
    first = tl.load(sorted_N + begin).to(tl.int64)
    before = tl.load(sorted_N + begin - 1, mask=begin > 0, other=-1).to(tl.int64)
    goes_on = tl.load(sorted_N + behind).to(tl.int64) == row
    if goes_on & ((row != first) | (before != row)):  # the row begins in this chunk
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
        _move(weight, state, rates, row_1, sum_1W, count_1, row_1 >= 0, D, W, CLIP, RATIO, FLOOR, ADAGRAD,
              BETA1, BETA2, EPS, DECAY)  # fmt: skip


def in_order(grad: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of a sparse gradient, ascending, and their permutation (N,)."""
    row_N = grad._indices()[0]
    if grad.shape[0] < 2**31:
        row_N = row_N.int()  # faster to sort
    sorted_N, from_N = row_N.sort(stable=True)
    return sorted_N, from_N


def move_rows(
    table: Tensor,
    grad: Tensor,
    order: tuple[Tensor, Tensor],
    state: Tensor,
    step: Tensor,
    rate: Tensor,
    group: dict[str, Any],
    adagrad: bool,
    bound: tuple[float, float] | None = None,
) -> None:
    """Update the rows of a sparse gradient, which may repeat rows; see `optim.row_wise`.

    Args:
        table: rows of D weights.
        grad: sparse; the gradients of repeated rows are summed.
        order: its rows in ascending order, from `in_order`.
        state: both moments of each row, interleaved, or the sums of squares.
        step: Adam's step counter on the device, which is incremented.
        rate: learning rate on the device.
        group: settings of the optimizer's parameter group.
        adagrad: use Adagrad instead of Adam.
        bound: ratio and floor of `optim.cowclip`; None disables clipping.
    """
    grad_ND, (sorted_N, from_N), (beta1, beta2) = grad._values().contiguous(), order, group["betas"]
    rates = rate.reshape(1)
    if not adagrad:
        rates = grad_ND.new_empty(2)
        _begin[(1,)](step, rate, rates, LOG1=math.log(beta1), LOG2=math.log(beta2), num_warps=1)
    if not len(grad_ND):
        return
    width = 1 if table.shape[1] == 1 else triton.next_power_of_2(max(16, table.shape[1]))
    length, warps = SHAPES.get(width, (16, 4 if width <= 256 else 8))
    chunks = triton.cdiv(len(grad_ND), length)
    head_XD, tail_XD = (grad_ND.new_empty(chunks, table.shape[1]) for _ in range(2))
    heads_X, tails_X = (grad_ND.new_empty(chunks) for _ in range(2))  # number of gradients in each sum
    constants = {"L": length, "D": table.shape[1], "W": width, "ADAGRAD": adagrad}
    constants |= {"BETA1": beta1, "BETA2": beta2, "EPS": group["eps"], "DECAY": group["weight_decay"]}
    constants |= {"CLIP": bound is not None, "RATIO": (bound or (0, 0))[0], "FLOOR": (bound or (0, 0))[1]}
    left, moving = (head_XD, tail_XD, heads_X, tails_X, len(grad_ND)), (table, state, rates)
    _within[(chunks,)](sorted_N, from_N, grad_ND, *left, *moving, **constants, num_warps=warps)
    if chunks > 1:
        together = max(2, min(TOGETHER, 2048 // width))
        _across[(chunks - 1,)](sorted_N, *left, *moving, **constants, K=together, num_warps=1)


def fits(table: Tensor) -> bool:
    """Whether the kernels support the table."""
    return table.dim() == 2 and table.shape[1] <= WIDEST and table.is_contiguous()
