"""Two models of one pair of fields, fitted to residuals: an effect per cell, and a product of factors.

N rows, C cells, G values of a field, R rank.
"""

from collections.abc import Iterable
from itertools import combinations_with_replacement
from typing import NamedTuple

import torch
from torch import Tensor

from ctrloom.methods.statistics.cells import Cells
from ctrloom.methods.statistics.evidence import Evidence, Fields

RANK = 4  # of a product
ROUNDS = 20  # of estimating the prior variance, and of fitting each side of the factors
LEAST_VARIANCE = 1e-4


class Gain(NamedTuple):
    """How much better one model predicts rows than another, in log likelihood, and its t value."""

    total: float
    t: float


def product_over_table(evidence: Evidence, pair: Fields, known: Iterable[Fields], seed: int) -> Gain:
    """How much better a product than a table predicts the last block of rows from those before it."""
    left = evidence.left(known)
    *before, there = left.blocks
    here = torch.cat(before)
    residual_N, curvature_N = left.residual_N[here], left.curvature_N[here]
    code_N = {field: evidence.rows.column(field, evidence.device) for field in pair}
    cells = Cells.of(pair, code_N, evidence.rows.sizes)
    first, second = (Cells.of([field], code_N, evidence.rows.sizes) for field in pair)
    effect_C, variance = memorized(cells.rows(here), residual_N, curvature_N)
    sides = first.rows(here), second.rows(here)
    first_GR, second_GR = factorized(sides, residual_N, curvature_N, variance, seed)
    product_N = (first_GR[first.of_row_N[there]] * second_GR[second.of_row_N[there]]).sum(1)
    table_N = effect_C[cells.of_row_N[there]]
    return gain(product_N, table_N, left.residual_N[there], left.curvature_N[there])


def memorized(cells: Cells, residual_N: Tensor, curvature_N: Tensor) -> tuple[Tensor, float]:
    """An effect per cell (C,), and the prior variance of effects that fits them best, by EM."""
    residual_C, curvature_C = cells.sums(residual_N), cells.sums(curvature_N)
    seen_C, variance = curvature_C > 0, 1.0
    for _ in range(ROUNDS):
        posterior_C = 1 / (curvature_C + 1 / variance)
        second_moment_C = (residual_C * posterior_C) ** 2 + posterior_C
        variance = max(LEAST_VARIANCE, float(second_moment_C[seen_C].mean()))
    return residual_C / (curvature_C + 1 / variance), variance


def factorized(
    sides: tuple[Cells, Cells], residual_N: Tensor, curvature_N: Tensor, variance: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Factors of both fields, (G, R) each, whose inner product is the effect of a pair of values.

    `variance` is the prior variance of the effects. By alternating ridge regressions.
    """
    generator = torch.Generator().manual_seed(seed)
    scale = (variance / RANK) ** 0.25  # of one factor
    drawn = [torch.randn(side.count, RANK, generator=generator, dtype=torch.float64) for side in sides]
    factors = [scale * factor_GR.to(residual_N.device) for factor_GR in drawn]
    for _ in range(ROUNDS):
        for own, other in ((0, 1), (1, 0)):
            other_NR = factors[other][sides[other].of_row_N]
            factors[own] = _ridge(sides[own], other_NR, residual_N, curvature_N, scale)
    return factors[0], factors[1]


def gain(one_N: Tensor, other_N: Tensor, residual_N: Tensor, curvature_N: Tensor) -> Gain:
    """How much better the logits `one_N` are than `other_N`, to second order, on rows that fitted neither."""
    gain_N = (one_N - other_N) * residual_N - 0.5 * (one_N**2 - other_N**2) * curvature_N
    total, spread = float(gain_N.sum()), float(gain_N.norm())
    return Gain(total, total / spread if spread > 0 else 0.0)


def _ridge(own: Cells, other_NR: Tensor, residual_N: Tensor, curvature_N: Tensor, scale: float) -> Tensor:
    """The factors of one side, given those of the other."""
    moment_GR = torch.stack([own.sums(residual_N * other_N) for other_N in other_NR.T], 1)
    gram_GRR = moment_GR.new_zeros(own.count, RANK, RANK)
    for r, s in combinations_with_replacement(range(RANK), 2):
        gram_GRR[:, r, s] = own.sums(curvature_N * other_NR[:, r] * other_NR[:, s])
        gram_GRR[:, s, r] = gram_GRR[:, r, s]
    gram_GRR += torch.eye(RANK, dtype=gram_GRR.dtype, device=gram_GRR.device) / scale**2
    solution_GR: Tensor = torch.linalg.solve(gram_GRR, moment_GR)
    return solution_GR
