"""How many of the strongest interactions to keep for prediction: as many as improve held-out rows.

N rows.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ctrloom.methods.statistics.additive_model import fit_additive
from ctrloom.methods.statistics.evidence import Fields, effects
from ctrloom.methods.statistics.field_codes import CodedRows
from ctrloom.metrics.measure import EvaluationError
from ctrloom.progress import progress


def best_number(
    rows: CodedRows, ranked: Sequence[Fields], known: Collection[Fields], device: torch.device, title: str
) -> int:
    """The number of candidates, strongest first, whose effects predict the held-out rows best.

    Tries none, 1, 2, 4 and so on, and all. Main effects, the `known` interactions and the candidates are
    fitted to the first part of the rows, with one penalised weight per combination of values; the logloss of
    the second part decides.

    Raises:
        EvaluationError: the second part has no rows.
    """
    if rows.parts[0] == len(rows):
        raise EvaluationError(
            "search.keep: predictive needs validation rows of a weight above 0; none is left"
        )
    label_N = rows.label_N.to(device)
    weight_N = torch.ones_like(label_N) if rows.weight_N is None else rows.weight_N.to(device)
    weight_N = weight_N / weight_N.mean()
    held_N = torch.arange(len(rows), device=device) >= rows.parts[0]
    counts = sorted({0, len(ranked), *(2**power for power in range(len(ranked).bit_length()))})
    loss: dict[int, float] = {}
    with progress(title, len(counts), "models") as advance:
        for count in counts:
            parts = effects(rows, [*known, *ranked[:count]], device)
            logit_N = fit_additive(parts, label_N, weight_N * ~held_N, recalibrate=False)
            loss[count] = _logloss(logit_N[held_N], label_N[held_N], weight_N[held_N])
            advance(1, f"{count:,} interactions, valid logloss {loss[count]:.5f}")
    return min(counts, key=lambda count: loss[count])


def _logloss(logit_N: Tensor, label_N: Tensor, weight_N: Tensor) -> float:
    return float(
        binary_cross_entropy_with_logits(logit_N, label_N, weight_N, reduction="sum") / weight_N.sum()
    )
