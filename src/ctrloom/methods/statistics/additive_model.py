"""Logistic regression on groups of rows: the effects of every field, and of every interaction kept so far.

N rows, G groups of one effect.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ctrloom.methods.statistics.cells import Cells

CYCLES = 50  # maximum number of passes over the effects
CONVERGED = 1e-2  # largest change of a pass, in logits
LARGEST_STEP = 1.0  # of one coefficient in one pass, in logits
DEGREE = 3  # of the polynomial that recalibrates the logits


def fit_additive(
    effects: Sequence[tuple[Cells, float]], label_N: Tensor, weight_N: Tensor, recalibrate: bool = True
) -> Tensor:
    """Logits (N,): the sum of all effects, by block-wise Newton steps on the penalised loss.

    `effects` are groups with the prior variance of their effects, in squared logits. Rows of weight 0 only
    get a logit. The logits are then recalibrated with a cubic polynomial: what a monotone curve explains is
    no interaction.
    """
    rate = (label_N * weight_N).sum() / weight_N.sum()
    logit_N = torch.full_like(label_N, float(rate.logit()))
    coefficients = [label_N.new_zeros(cells.count) for cells, _ in effects]
    for _ in range(CYCLES):
        largest = 0.0
        for (cells, variance), coefficient_G in zip(effects, coefficients, strict=True):
            gradient_N, curvature_N = derivatives(logit_N, label_N, weight_N)
            step_G = cells.sums(gradient_N) - coefficient_G / variance
            step_G = (step_G / (cells.sums(curvature_N) + 1 / variance)).clamp(-LARGEST_STEP, LARGEST_STEP)
            coefficient_G += step_G
            logit_N += step_G[cells.of_row_N]
            largest = max(largest, float(step_G.abs().max()))
        gradient_N, curvature_N = derivatives(logit_N, label_N, weight_N)
        logit_N += gradient_N.sum() / curvature_N.sum()
        if largest < CONVERGED:
            break
    return _recalibrated(logit_N, label_N, weight_N) if recalibrate else logit_N


def derivatives(logit_N: Tensor, label_N: Tensor, weight_N: Tensor) -> tuple[Tensor, Tensor]:
    """The negative gradient of the loss of each row, and its curvature."""
    p_N = logit_N.sigmoid()
    return weight_N * (label_N - p_N), weight_N * p_N * (1 - p_N)


def _recalibrated(logit_N: Tensor, label_N: Tensor, weight_N: Tensor) -> Tensor:
    """Logistic regression of the labels on powers of the logits."""
    if (scale := logit_N.std()) < 1e-6:  # no effects
        return logit_N
    standard_N = (logit_N - logit_N.mean()) / scale
    power_ND = torch.stack([standard_N**d for d in range(DEGREE + 1)], 1)
    coefficient_D = logit_N.new_zeros(DEGREE + 1)
    coefficient_D[0], coefficient_D[1] = logit_N.mean(), scale
    ridge_DD = 1e-6 * torch.eye(DEGREE + 1, dtype=logit_N.dtype, device=logit_N.device)
    for _ in range(10):
        gradient_N, curvature_N = derivatives(power_ND @ coefficient_D, label_N, weight_N)
        hessian_DD = (power_ND * curvature_N[:, None]).T @ power_ND
        hessian_DD += ridge_DD * hessian_DD.diagonal().sum()
        coefficient_D += torch.linalg.solve(hessian_DD, power_ND.T @ gradient_N)
    return power_ND @ coefficient_D
