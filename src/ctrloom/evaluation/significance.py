"""Tests whether two models differ on the same rows: DeLong's test for AUC, a paired bootstrap for logloss.

N rows, S seeds of the challenger, T seeds of the base, m positive and n negative rows, K blocks of rows,
R resamples. Swapping challenger and base flips the sign of every number and changes nothing else.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctrloom.config.base import StrictModel
from ctrloom.metrics.measure import EvaluationError, Floats, row_logloss

BLOCKS = 20_000  # the bootstrap draws rows, or this many random blocks if there are more rows
CHUNK = 1 << 22  # draws held in memory at a time


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

    @property
    def significant(self) -> bool:
        """True if the adjusted p is below 1 - confidence."""
        return self.p_adjusted < 1 - self.confidence


def delong(
    challenger_SN: ArrayLike,
    base_TN: ArrayLike,
    label_N: ArrayLike,
    weight_N: ArrayLike | None = None,
    confidence: float = 0.95,
) -> Comparison:
    """Paired test of the difference in AUC, over any number of seeds; O(N log N).

    The variance over rows is DeLong's (1988) on placement values, found from midranks (Sun and Xu 2014) and
    averaged over seeds before variances are taken; the variance of the mean over seeds is added.
    Quantiles are Student's with Satterthwaite's degrees of freedom, as few seeds estimate a variance poorly.

    Raises:
        EvaluationError: fewer than two positive or two negative rows.
    """
    label_N = np.asarray(label_N, np.float64)
    weight_N = np.ones_like(label_N) if weight_N is None else np.asarray(weight_N, np.float64)
    if min(clicks := int(label_N.sum()), len(label_N) - clicks) < 2:
        raise EvaluationError("a comparison of AUC needs at least two rows of each label")
    auc_S, positive_m, negative_n = _placements(np.atleast_2d(challenger_SN), label_N, weight_N)
    auc_T, base_m, base_n = _placements(np.atleast_2d(base_TN), label_N, weight_N)
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

    margin = float(stats.t.ppf(0.5 + confidence / 2, degrees)) * se
    return Comparison(
        delta=delta,
        low=delta - margin,
        high=delta + margin,
        confidence=confidence,
        p=p,
        p_adjusted=p,
        se_rows=float(np.sqrt(rows)),
        se_seeds=float(np.sqrt(sum(seeds))),
        se=se,
        p_rows=_two_sided(delta, float(np.sqrt(rows)), np.inf),
    )


def bootstrap_logloss(
    challenger_SN: ArrayLike,
    base_TN: ArrayLike,
    label_N: ArrayLike,
    weight_N: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Paired percentile bootstrap of the difference in logloss: over rows, and over seeds on either side.

    S - 1 of S seeds are drawn, which makes the variance of their mean unbiased (Rao and Wu 1988).
    """
    label_N = np.asarray(label_N, np.float64)
    weight_N = np.ones_like(label_N) if weight_N is None else np.asarray(weight_N, np.float64)
    rng = np.random.default_rng(seed)
    blocks = min(len(label_N), BLOCKS)
    block_N = rng.permutation(np.arange(len(label_N)) % blocks)
    weight_K = np.bincount(block_N, weights=weight_N)
    loss_SK, loss_TK = (
        np.stack([np.bincount(block_N, row_logloss(logit_N, label_N) * weight_N) for logit_N in side])
        for side in (np.atleast_2d(np.asarray(s, np.float64)) for s in (challenger_SN, base_TN))
    )
    pick_RS, pick_RT = _seed_draws(loss_SK, resamples, seed), _seed_draws(loss_TK, resamples, seed)
    chunk = max(1, CHUNK // blocks)
    deltas: list[NDArray] = []
    for start in range(0, resamples, chunk):
        here = slice(start, min(start + chunk, resamples))
        times_RK = _block_draws(rng, here.stop - here.start, blocks)
        loss_R = [
            ((times_RK @ loss.T) * pick[here]).sum(1)
            for loss, pick in ((loss_SK, pick_RS), (loss_TK, pick_RT))
        ]
        deltas.append((loss_R[0] - loss_R[1]) / (times_RK @ weight_K))
    delta_R = np.concatenate(deltas)
    sorted_R = np.sort(delta_R)
    tail = int((1 - confidence) / 2 * (resamples - 1))
    beyond = min(int((delta_R <= 0).sum()), int((delta_R >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (resamples + 1))
    return Comparison(
        delta=float((loss_SK.sum(1).mean() - loss_TK.sum(1).mean()) / weight_K.sum()),
        low=float(sorted_R[tail]),
        high=float(sorted_R[-1 - tail]),
        confidence=confidence,
        p=p,
        p_adjusted=p,
        se=float(delta_R.std(ddof=1)) if resamples > 1 else None,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, which control the family-wise error rate (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


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


def _block_draws(rng: np.random.Generator, resamples: int, blocks: int) -> Floats:
    """How often each block is drawn in each resample."""
    drawn_RK = rng.integers(0, blocks, (resamples, blocks)) + np.arange(resamples)[:, None] * blocks
    return (
        np.bincount(drawn_RK.ravel(), minlength=resamples * blocks)
        .reshape(resamples, blocks)
        .astype(np.float64)
    )


def _seed_draws(loss_SK: NDArray, resamples: int, seed: int) -> Floats:
    """Shares of the seeds of one side in each resample.

    Each side draws from a generator seeded with its own losses: sides are independent, and swapping them
    swaps their draws.
    """
    seeds = len(loss_SK)
    if seeds == 1:
        return np.ones((resamples, 1))
    rng = np.random.default_rng([seed, zlib.crc32(np.ascontiguousarray(loss_SK).tobytes())])
    return rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=resamples) / (seeds - 1)
