"""Whether a combination of fields explains what the effects of its parts leave over.

Rows come in blocks. In each block but the first, the effect of every cell (combination of values) is
predicted from the residuals of the blocks before it. The prediction is made orthogonal to everything that the
parts of the combination can explain, so that errors of their effects cancel to first order (Neyman's C(alpha)
test), and is multiplied with the residuals of the block. Given the blocks before, every term has mean zero
under the null hypothesis, so the sum over its standard deviation is a standard normal t value, no matter how
many cells there are and how rare. Every row but those of the first block is predicted once, from rows before.

A part can explain a shift of the logits of its values, and a scale: where an interaction is missing
in the model, the logits of the values that take part in it spread more, and the best additive ones shrink.

N rows, U units (cells of all fields involved), C cells of the combination, G groups of units.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from ctrloom.methods.statistics.cells import Cells
from ctrloom.methods.statistics.field_codes import CodedRows

CELL_VARIANCE = 0.25  # prior variance of the effect of a cell, in squared logits
SCALE_VARIANCE = 0.25  # prior variance of the scale of the logits of a value
SWEEPS = 20  # maximum number of passes of a projection
PROJECTED = 1e-2  # largest remaining group mean, relative to the largest prediction
NOTHING = 1e-6  # share of the predictions' norm below which the parts explain all of it
TINY = 1e-12


@dataclass(frozen=True)
class Residuals:
    """What the null model leaves over, and the row numbers of each block."""

    logit_N: Tensor
    residual_N: Tensor  # weight * (label - p)
    curvature_N: Tensor  # weight * p * (1 - p)
    blocks: Sequence[Tensor]  # int64


def t_value(
    rows: CodedRows, left: Residuals, fields: Sequence[int], known: Iterable[Sequence[int]] = ()
) -> float:
    """Test the interaction of `fields`, given the effects of all its parts and of `known` interactions.

    Returns a t value, which is positive if predictions and residuals agree, and 0 if there is nothing to
    test: no cell occurs twice, or the parts determine it.
    """
    explained = list(dict.fromkeys([*combinations(fields, len(fields) - 1), *map(tuple, known)]))
    involved = sorted({*fields, *(field for part in explained for field in part)})
    code_N = {field: rows.column(field, left.residual_N.device) for field in involved}
    cells, units = Cells.of(fields, code_N, rows.sizes), Cells.of(involved, code_N, rows.sizes)
    example_U = units.examples()
    cell_U, code_U = cells.of_row_N[example_U], {f: code_N[f][example_U] for f in involved}
    groups = [Cells.of(part, code_U, rows.sizes) for part in explained]
    past_C, past_curvature_C = left.residual_N.new_zeros(2, cells.count)
    total = variance = 0.0
    for number, here in enumerate(left.blocks):
        residual_N, curvature_N = left.residual_N[here], left.curvature_N[here]
        cell, unit = cells.rows(here), units.rows(here)
        if number and curvature_N.any():  # nothing is left to learn where every logit is certain
            curvature_U = unit.sums(curvature_N)
            live = curvature_U.nonzero().squeeze(1)
            logit_U = unit.sums(curvature_N * left.logit_N[here])[live] / curvature_U[live]
            effect_U = (past_C / (past_curvature_C + 1 / CELL_VARIANCE))[cell_U[live]]
            alive = [each.rows(live) for each in groups]
            effect_U = orthogonal(effect_U, curvature_U[live], logit_U, alive)
            total += float(effect_U @ unit.sums(residual_N)[live])
            variance += float(effect_U**2 @ unit.sums(residual_N**2)[live])
        past_C += cell.sums(residual_N)
        past_curvature_C += cell.sums(curvature_N)
    return total / variance**0.5 if variance > 0 else 0.0


def orthogonal(value_U: Tensor, weight_U: Tensor, logit_U: Tensor, explained: Sequence[Cells]) -> Tensor:
    """Subtract from values their best weighted approximation by a sum of what the parts can explain.

    By backfitting. Zero if nothing is left but rounding errors.
    """
    parts = [_Part(cells, weight_U, logit_U) for cells in explained]
    tolerance, norm = PROJECTED * float(value_U.abs().max()), float(value_U.norm())
    for _ in range(SWEEPS):
        largest = 0.0
        for part in parts:
            value_U, shift = part.subtract(value_U)
            largest = max(largest, shift)
        if largest <= tolerance:
            break
    return value_U if float(value_U.norm()) > NOTHING * norm else value_U * 0


class _Part:
    """What one part of a combination can explain: a shift and a scale of the logits in each of its groups.

    A scale has a prior variance, so that groups of few rows keep their evidence.
    """

    def __init__(self, cells: Cells, weight_U: Tensor, logit_U: Tensor) -> None:
        self.cells, self.weight_U = cells, weight_U
        self.weight_G = cells.sums(weight_U).clamp(min=TINY)
        self.centred_U = logit_U - (cells.sums(weight_U * logit_U) / self.weight_G)[cells.of_row_N]
        self.curvature_G = cells.sums(weight_U * self.centred_U**2) + 1 / SCALE_VARIANCE
        self.scale_G = torch.zeros_like(self.weight_G)

    def subtract(self, value_U: Tensor) -> tuple[Tensor, float]:
        """The values without what this part explains beyond earlier calls, and the largest shift."""
        group_U, weighted_U = self.cells.of_row_N, self.weight_U * value_U
        shift_G = self.cells.sums(weighted_U) / self.weight_G
        more_G = self.cells.sums(weighted_U * self.centred_U) - self.scale_G / SCALE_VARIANCE
        self.scale_G += (more_G := more_G / self.curvature_G)
        explained_U = shift_G[group_U] + more_G[group_U] * self.centred_U
        return value_U - explained_U, float(shift_G.abs().max())
