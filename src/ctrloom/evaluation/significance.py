"""Tests whether two models differ on the same rows: DeLong's test for AUC, and adjustment for many tests.

N rows, S seeds of the challenger, T seeds of the base, m positive and n negative rows. Swapping challenger
and base flips the sign of every number and changes nothing else. Rows of weight 0 count for nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctrloom.config.base import StrictModel
from ctrloom.metrics.measure import EvaluationError, Floats, with_weight


class Comparison(StrictModel):
    """Difference of one metric, challenger minus base, averaged over the seeds of each."""

    delta: float
    low: float  # confidence interval of delta
    high: float
    confidence: float
    p: float  # two-sided
    p_adjusted: float  # after Holm, over the models of one table; equal to p for a single test
    se_rows: float | None = None  # standard error due to sampling of rows
    se_seeds: float | None = None  # standard error due to seeds; 0 for one seed per side
    se: float | None = None
    p_rows: float | None = None  # from se_rows only
    adjusted_low: float | None = None  # interval that agrees with p_adjusted; None: a single test
    adjusted_high: float | None = None

    @property
    def significant(self) -> bool:
        """True if the adjusted p is below 1 - confidence."""
        return self.p_adjusted < 1 - self.confidence

    @property
    def interval(self) -> tuple[float, float]:
        """The interval that excludes 0 exactly if the difference is significant."""
        low, high = self.adjusted_low, self.adjusted_high
        return (self.low, self.high) if low is None or high is None else (low, high)


@dataclass(frozen=True)
class Difference:
    """A comparison, and its confidence interval at any confidence."""

    comparison: Comparison
    interval: Callable[[float], tuple[float, float]]

    def swapped(self) -> "Difference":
        """The same with challenger and base swapped."""

        def interval(confidence: float) -> tuple[float, float]:
            low, high = self.interval(confidence)
            return -high, -low

        found = self.comparison
        flipped = {"delta": -found.delta, "low": -found.high, "high": -found.low}
        return Difference(found.model_copy(update=flipped), interval)


def delong(
    challenger_SN: ArrayLike,
    base_TN: ArrayLike,
    label_N: ArrayLike,
    weight_N: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Comparison:
    """Paired test of the difference in AUC, over any number of seeds; see `delong_difference`.

    Raises:
        EvaluationError: fewer than two positive or two negative rows.
    """
    return delong_difference(challenger_SN, base_TN, label_N, weight_N, confidence).comparison


def delong_difference(
    challenger_SN: ArrayLike,
    base_TN: ArrayLike,
    label_N: ArrayLike,
    weight_N: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Difference:
    """Paired test of the difference in AUC, over any number of seeds; O(N log N).

    The variance over rows is DeLong's (1988) on placement values, found from midranks (Sun and Xu 2014) and
    averaged over seeds before variances are taken; the variance of the mean over seeds is added.
    Quantiles are Student's with Satterthwaite's degrees of freedom, as few seeds estimate a variance poorly.

    Raises:
        EvaluationError: fewer than two positive or two negative rows.
    """
    challenger_SN, base_TN, label_N, weight_N = _counted(challenger_SN, base_TN, label_N, weight_N)
    if min(clicks := int(label_N.sum()), len(label_N) - clicks) < 2:
        raise EvaluationError("a comparison of AUC needs at least two rows of each label")
    auc_S, positive_m, negative_n = _placements(challenger_SN, label_N, weight_N)
    auc_T, base_m, base_n = _placements(base_TN, label_N, weight_N)
    delta = float(auc_S.mean() - auc_T.mean())
    rows = _variance_of_mean(positive_m - base_m, weight_N[label_N == 1])
    rows += _variance_of_mean(negative_n - base_n, weight_N[label_N == 0])
    seeds = [float(np.var(a, ddof=1)) / len(a) if len(a) > 1 else 0.0 for a in (auc_S, auc_T)]
    total = rows + sum(seeds)
    spread = sum(v * v / (len(a) - 1) for v, a in zip(seeds, (auc_S, auc_T), strict=True) if len(a) > 1)
    degrees = total * total / spread if spread > 0 else np.inf
    se = float(np.sqrt(total))
    p = _two_sided(delta, se, degrees)
    from scipy import stats  # loads slowly, and only comparisons need it

    def interval(confidence: float) -> tuple[float, float]:
        margin = float(stats.t.ppf(0.5 + confidence / 2, degrees)) * se
        return delta - margin, delta + margin

    low, high = interval(confidence)
    comparison = Comparison(
        delta=delta,
        low=low,
        high=high,
        confidence=confidence,
        p=p,
        p_adjusted=p,
        se_rows=float(np.sqrt(rows)),
        se_seeds=float(np.sqrt(sum(seeds))),
        se=se,
        p_rows=_two_sided(delta, float(np.sqrt(rows)), np.inf),
    )
    return Difference(comparison, interval)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, which control the family-wise error rate (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def adjusted(tests: Sequence[Difference]) -> list[Comparison]:
    """The comparisons with p-values adjusted by Holm's method, and with intervals that agree with them.

    An interval is widened as its p is multiplied, so that it excludes 0 exactly if the adjusted p is below
    1 - confidence.
    """
    p_values = holm([tested.comparison.p for tested in tests])
    return [_adjusted(tested, p, len(tests)) for tested, p in zip(tests, p_values, strict=True)]


def _adjusted(tested: Difference, p_adjusted: float, tests: int) -> Comparison:
    found = tested.comparison
    share = found.p / p_adjusted if p_adjusted else 1 / tests
    low, high = tested.interval(1 - (1 - found.confidence) * share)
    return found.model_copy(update={"p_adjusted": p_adjusted, "adjusted_low": low, "adjusted_high": high})


def _counted(
    challenger_SN: ArrayLike, base_TN: ArrayLike, label_N: ArrayLike, weight_N: ArrayLike | None
) -> tuple[Floats, Floats, Floats, Floats]:
    """Scores, labels and weights of the rows that count."""
    label_N = np.asarray(label_N, np.float64)
    counted = with_weight(weight_N)
    weight_N = np.ones_like(label_N) if weight_N is None else np.asarray(weight_N, np.float64)
    challenger_SN, base_TN = (np.atleast_2d(np.asarray(s, np.float64)) for s in (challenger_SN, base_TN))
    return challenger_SN[:, counted], base_TN[:, counted], label_N[counted], weight_N[counted]


def _placements(logit_SN: NDArray, label_N: Floats, weight_N: Floats) -> tuple[Floats, Floats, Floats]:
    """AUC per seed; averaged over seeds, the share of negatives below each positive and the reverse."""
    positive_N = label_N == 1
    heavy_m, heavy_n = weight_N[positive_N], weight_N[~positive_N]
    above_m, below_n = np.zeros(len(heavy_m)), np.zeros(len(heavy_n))
    aucs = []
    for logit_N in logit_SN:
        if not np.isfinite(logit_N).all():
            raise EvaluationError("scores are not finite: the model diverged")
        seed_m = _share_below(logit_N[positive_N], logit_N[~positive_N], heavy_n)
        aucs.append(float(seed_m @ heavy_m / heavy_m.sum()))
        above_m += seed_m
        below_n += 1 - _share_below(logit_N[~positive_N], logit_N[positive_N], heavy_m)
    return np.array(aucs), above_m / len(aucs), below_n / len(aucs)


def _share_below(score_m: NDArray, other_n: NDArray, weight_n: Floats) -> Floats:
    """For each score the share, by weight, of the others that lie below it; ties count half."""
    order_n = np.argsort(other_n)
    sorted_n = other_n[order_n]
    mass = np.concatenate([[0.0], np.cumsum(weight_n[order_n])])
    lead_m = np.argsort(score_m)  # searching in ascending order is cache-friendly
    share_m = np.empty(len(score_m))
    below, upto = (np.searchsorted(sorted_n, score_m[lead_m], side) for side in ("left", "right"))
    share_m[lead_m] = (mass[below] + mass[upto]) / (2 * mass[-1])
    return share_m


def _variance_of_mean(value_m: Floats, weight_m: Floats) -> float:
    """Variance of a weighted mean (a ratio of two sums); with equal weights, the sample variance over m."""
    share_m = weight_m / weight_m.sum()
    residual_m = share_m * (value_m - share_m @ value_m)
    return float(residual_m @ residual_m) * len(value_m) / (len(value_m) - 1)


def _two_sided(delta: float, se: float, degrees: float) -> float:
    if se == 0:
        return 1.0 if delta == 0 else 0.0
    from scipy import stats

    return float(2 * stats.t.sf(abs(delta) / se, degrees))
