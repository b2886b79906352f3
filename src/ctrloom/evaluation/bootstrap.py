"""Paired bootstrap of the difference in logloss between models, over rows and seeds.

N rows, S seeds of a model, K blocks of rows, R resamples. Swapping challenger and base flips the sign of
every number and changes nothing else. Rows of weight 0 count for nothing.
"""

import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctrloom.evaluation.significance import Comparison, Difference
from ctrloom.metrics.measure import Floats, row_logloss, with_weight

BLOCKS = 20_000  # the bootstrap draws rows, or this many random blocks if there are more rows
CHUNK = 1 << 22  # draws held in memory at a time


def bootstrap_logloss(
    challenger_SN: ArrayLike,
    base_SN: ArrayLike,
    label_N: ArrayLike,
    weight_N: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Paired percentile bootstrap of the difference in logloss: over rows, and over seeds on either side."""
    drawn = LoglossBootstrap([challenger_SN, base_SN], label_N, weight_N, resamples, seed)
    return drawn.difference(0, 1, confidence).comparison


class LoglossBootstrap:
    """Resampled losses of several models: all have the same rows drawn, each has its own seeds drawn.

    S - 1 of S seeds are drawn, which makes the variance of their mean unbiased (Rao and Wu 1988).
    """

    def __init__(
        self,
        logits: Sequence[ArrayLike],
        label_N: ArrayLike,
        weight_N: ArrayLike | None = None,
        resamples: int = 2000,
        seed: int = 0,
    ) -> None:
        """`logits` has an array (S, N), or (N,) of one seed, for each model."""
        counted, label_N = with_weight(weight_N), np.asarray(label_N, np.float64)
        weight_N = np.ones_like(label_N) if weight_N is None else np.asarray(weight_N, np.float64)
        label_N, weight_N = label_N[counted], weight_N[counted]
        rng = np.random.default_rng(seed)
        blocks = min(len(label_N), BLOCKS)
        block_N = rng.permutation(np.arange(len(label_N)) % blocks)
        weight_K = np.bincount(block_N, weights=weight_N)
        losses = [
            np.stack([np.bincount(block_N, row_logloss(logit_N, label_N) * weight_N) for logit_N in model_SN])
            for model_SN in (np.atleast_2d(np.asarray(each, np.float64))[:, counted] for each in logits)
        ]
        picks = [_seed_draws(loss_SK, resamples, seed) for loss_SK in losses]
        drawn = [
            [*(times_RK @ loss_SK.T for loss_SK in losses), times_RK @ weight_K]
            for times_RK in _block_draws(rng, resamples, blocks)
        ]
        *sums, weight_R = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        self.resamples = resamples
        self.loss = [float(loss_SK.sum(1).mean() / weight_K.sum()) for loss_SK in losses]
        self.loss_R = [
            (sum_RS * pick_RS).sum(1) / weight_R for sum_RS, pick_RS in zip(sums, picks, strict=True)
        ]

    def difference(self, challenger: int, base: int, confidence: float = 0.95) -> Difference:
        """The difference in logloss between two of the models, given their positions."""
        delta_R = self.loss_R[challenger] - self.loss_R[base]
        sorted_R = np.sort(delta_R)
        beyond = min(int((delta_R <= 0).sum()), int((delta_R >= 0).sum()))
        p = min(1.0, 2 * (beyond + 1) / (self.resamples + 1))

        def interval(confidence: float) -> tuple[float, float]:
            # Excludes 0 exactly if p is below 1 - confidence
            tail = math.ceil((1 - confidence) * (self.resamples + 1) / 2) - 2
            if tail < 0:  # too few resamples for such a p
                return min(float(sorted_R[0]), 0.0), max(float(sorted_R[-1]), 0.0)
            return float(sorted_R[tail]), float(sorted_R[-1 - tail])

        low, high = interval(confidence)
        comparison = Comparison(
            delta=self.loss[challenger] - self.loss[base],
            low=low,
            high=high,
            confidence=confidence,
            p=p,
            p_adjusted=p,
            se=float(delta_R.std(ddof=1)) if self.resamples > 1 else None,
        )
        return Difference(comparison, interval)


def _block_draws(rng: np.random.Generator, resamples: int, blocks: int) -> Iterator[Floats]:
    """How often each block is drawn in each resample, for some resamples at a time."""
    chunk = max(1, CHUNK // blocks)
    for start in range(0, resamples, chunk):
        some = min(chunk, resamples - start)
        drawn_RK = rng.integers(0, blocks, (some, blocks)) + np.arange(some)[:, None] * blocks
        counts = np.bincount(drawn_RK.ravel(), minlength=some * blocks)
        yield counts.reshape(some, blocks).astype(np.float64)


def _seed_draws(loss_SK: NDArray, resamples: int, seed: int) -> Floats:
    """Shares of the seeds of one model in each resample.

    Each model draws from a generator seeded with its own losses: models are independent, and swapping them
    swaps their draws.
    """
    seeds = len(loss_SK)
    if seeds == 1:
        return np.ones((resamples, 1))
    rng = np.random.default_rng([seed, zlib.crc32(np.ascontiguousarray(loss_SK).tobytes())])
    return rng.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=resamples) / (seeds - 1)
