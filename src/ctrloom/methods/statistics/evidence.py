"""The evidence for interactions in a set of rows: t values, given the interactions that are known already.

N rows.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from scipy.stats import false_discovery_control
from torch import Tensor

from ctrloom import distributed
from ctrloom.methods.statistics.additive_model import derivatives, fit_additive
from ctrloom.methods.statistics.cells import Cells
from ctrloom.methods.statistics.field_codes import CodedRows
from ctrloom.methods.statistics.residual_test import CELL_VARIANCE, Residuals, t_value
from ctrloom.metrics.measure import EvaluationError
from ctrloom.progress import progress

MAIN_VARIANCE = 1.0  # prior variance of the main effect of a value, in squared logits
KNOWN = 4  # number of overlapping known interactions whose cells a candidate is tested within

Fields = tuple[int, ...]


class Evidence:
    """Tests candidates, given as field numbers, on coded rows.

    With several processes, all must hold the same rows, and each tests its share of the candidates.

    Raises:
        EvaluationError: only one label occurs.
    """

    def __init__(self, rows: CodedRows, blocks: Sequence[Tensor], device: torch.device) -> None:
        if not 0 < rows.label_N.sum() < len(rows):
            raise EvaluationError(
                f"the {len(rows)} rows of the residual test (weight above 0) must have both labels, 0 and 1"
            )
        self.rows, self.device = rows, device
        self.blocks = [block.to(device) for block in blocks if len(block)]
        self.label_N = rows.label_N.to(device)
        weight_N = torch.ones_like(self.label_N) if rows.weight_N is None else rows.weight_N.to(device)
        self.weight_N = weight_N / weight_N[weight_N > 0].mean()

    def t_values(
        self, candidates: Sequence[Fields], known: Mapping[Fields, float], title: str
    ) -> dict[Fields, float]:
        """Test each candidate, given all main effects and the `known` interactions with their t values.

        The `KNOWN` strongest that share all fields but one with a candidate cannot lend it their effect, even
        where theirs is underestimated.
        """
        left = self.left(known)
        rank, processes = distributed.rank_and_world_size()
        found_P = torch.zeros(len(candidates), dtype=torch.float64)
        with progress(title, len(candidates), "interactions") as advance:
            for place in range(rank, len(candidates), processes):
                fields = candidates[place]
                found_P[place] = t_value(self.rows, left, fields, _overlapping(fields, known))
                advance(processes)
        return dict(zip(candidates, distributed.all_reduce(found_P).tolist(), strict=True))

    def left(self, known: Iterable[Fields]) -> Residuals:
        """What main effects and the known interactions leave over."""
        logit_N = fit_additive(effects(self.rows, known, self.device), self.label_N, self.weight_N)
        residual_N, curvature_N = derivatives(logit_N, self.label_N, self.weight_N)
        return Residuals(logit_N, residual_N, curvature_N, self.blocks)


def effects(
    rows: CodedRows, interactions: Iterable[Fields], device: torch.device
) -> list[tuple[Cells, float]]:
    """The groups of all main effects and of some interactions, with the prior variance of their effects."""
    code_N = {field: rows.column(field, device) for field in range(len(rows.sizes))}
    main = [(Cells.of([field], code_N, rows.sizes), MAIN_VARIANCE) for field in code_N]
    return main + [(Cells.of(fields, code_N, rows.sizes), CELL_VARIANCE) for fields in interactions]


def random_blocks(rows: int, count: int, seed: int) -> list[Tensor]:
    """Row numbers of `count` random blocks of equal size."""
    order_N = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    return [block.sort().values for block in order_N.tensor_split(count)]


def p_values(t_values: Mapping[Fields, float]) -> dict[Fields, float]:
    """One-sided p values: the probability of a larger t value if there is no interaction."""
    from scipy.stats import norm

    return dict(zip(t_values, norm.sf(list(t_values.values())).tolist(), strict=True))


def discoveries(
    p_values: Mapping[Fields, float], rate: float, hypotheses: int | None = None
) -> dict[Fields, float]:
    """Those candidates whose adjusted p value is at most `rate`, with that p value.

    If the candidates were chosen from more `hypotheses`, the others count as not significant.

    Benjamini and Yekutieli, Annals of Statistics 2001: the expected share of false ones among them is at most
    `rate`, however the candidates depend on each other.
    """
    if not p_values:
        return {}
    others = (hypotheses or len(p_values)) - len(p_values)
    adjusted = false_discovery_control([*p_values.values(), *[1.0] * others], method="by").tolist()
    return {fields: p for fields, p in zip(p_values, adjusted, strict=False) if p <= rate}


def _overlapping(fields: Fields, known: Mapping[Fields, float]) -> Collection[Fields]:
    """The strongest known interactions of the same order that differ in one field."""
    near = [other for other in known if len(other) == len(fields) == len({*other} & {*fields}) + 1]
    return sorted(near, key=lambda other: -known[other])[:KNOWN]
