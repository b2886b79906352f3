"""Ranking, likelihood and calibration metrics of predicted clicks.

N rows, G groups of rows with equal score. Labels are 0 or 1; the default weight is 1. Rows of weight 0
count for nothing: every figure is the same without them.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctrloom.config.base import StrictModel
from ctrloom.config.errors import UserError
from ctrloom.metrics.logistic import expit

Floats = NDArray[np.float64]
EPSILON = float(np.finfo(np.float64).eps)


class EvaluationError(UserError):
    """Scores or labels that cannot be evaluated."""

    from_inputs = True


class Bin(StrictModel):
    """One row of a reliability table."""

    predicted: float  # mean probability
    observed: float  # label rate
    weight: float  # number of rows, or their total weight


class Metrics(StrictModel):
    """Metrics of one model on one split."""

    rows: int
    label_rate: float
    auc: float
    logloss: float
    normalised_entropy: (
        float  # logloss relative to that of predicting the label rate (He et al. 2014, section 3)
    )
    brier: float
    calibration_ratio: float  # sum of probabilities over sum of labels; above 1 is over-prediction
    calibration_error: float  # expected |predicted - observed| over bins of equal mass
    reliability: tuple[Bin, ...]


class Curve(StrictModel):
    """A ROC curve: false and true positive rates, both ascending from 0 to 1."""

    false_positive: tuple[float, ...]
    true_positive: tuple[float, ...]
    threshold: tuple[float, ...] = ()  # per point: scores at or above it are predicted as clicks


class Confusion(StrictModel):
    """Confusion matrix in rows (or their weights) at a probability threshold."""

    threshold: float
    true_negative: float
    false_positive: float
    false_negative: float
    true_positive: float


def measure(
    logit_N: ArrayLike, label_N: ArrayLike, weight_N: ArrayLike | None = None, bins: int = 20
) -> Metrics:
    """All metrics of one set of scores.

    Raises:
        EvaluationError: a logit is not finite, only one class occurs, or lengths differ.
    """
    logit_N, label_N, weight_N = _checked(logit_N, label_N, weight_N)
    clicks_N = weight_N * label_N
    logit_G, clicks_G, misses_G = _by_score(logit_N, clicks_N, weight_N - clicks_N)
    total = weight_N.sum()
    prob_N = expit(logit_N)
    rate = float(clicks_N.sum() / total)
    loss = float(row_logloss(logit_N, label_N) @ weight_N / total)
    reliability = _reliability(expit(logit_G), clicks_G, misses_G, bins)
    return Metrics(
        rows=len(logit_N),
        label_rate=rate,
        auc=_area(clicks_G, misses_G),
        logloss=loss,
        normalised_entropy=loss / -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate)),
        brier=float(np.square(prob_N - label_N) @ weight_N / total),
        calibration_ratio=float(prob_N @ weight_N / clicks_N.sum()),
        calibration_error=sum(b.weight * abs(b.predicted - b.observed) for b in reliability) / float(total),
        reliability=reliability,
    )


def auc(score_N: ArrayLike, label_N: ArrayLike, weight_N: ArrayLike | None = None) -> float:
    """Exact weighted AUC: probability that a positive row scores above a negative one, ties counting half.

    Raises:
        EvaluationError: as `measure`.
    """
    score_N, label_N, weight_N = _checked(score_N, label_N, weight_N)
    return grouped_auc(score_N, weight_N * label_N, weight_N * (1 - label_N))


def grouped_auc(score_N: Floats, positive_N: Floats, negative_N: Floats) -> float:
    """AUC of scores with `positive` and `negative` rows each (or their weights)."""
    _, positive_G, negative_G = _by_score(score_N, positive_N, negative_N)
    return _area(positive_G, negative_G)


def row_logloss(logit_N: Floats, label_N: Floats) -> Floats:
    """Logloss of each row (and seed, if logits have one more axis), stable for logits of any magnitude."""
    return np.logaddexp(0.0, logit_N) - label_N * logit_N


def roc_curve(
    score_N: ArrayLike, label_N: ArrayLike, weight_N: ArrayLike | None = None, points: int = 200
) -> Curve:
    """ROC curve, thinned to at most `points` evenly spaced points.

    Raises:
        EvaluationError: as `measure`.
    """
    score_N, label_N, weight_N = _checked(score_N, label_N, weight_N)
    below_G, positive_G, negative_G = _by_score(-score_N, weight_N * label_N, weight_N * (1 - label_N))
    true = np.concatenate([[0.0], np.cumsum(positive_G)]) / positive_G.sum()
    false = np.concatenate([[0.0], np.cumsum(negative_G)]) / negative_G.sum()
    along = true + false  # strictly increasing from 0 to 2
    chosen = np.unique(np.searchsorted(along, np.linspace(0, along[-1], points)))
    threshold = -np.concatenate([[below_G[0] - 1], below_G])
    return Curve(
        false_positive=tuple(false[chosen].tolist()),
        true_positive=tuple(true[chosen].tolist()),
        threshold=tuple(threshold[chosen].tolist()),
    )


def confusion(
    prob_N: ArrayLike, label_N: ArrayLike, weight_N: ArrayLike | None = None, threshold: float = 0.5
) -> Confusion:
    """Confusion matrix at one threshold.

    Raises:
        EvaluationError: as `measure`.
    """
    prob_N, label_N, weight_N = _checked(prob_N, label_N, weight_N)
    (tn, fn), (fp, tp) = (
        (float((weight_N * (1 - label_N) * chosen).sum()), float((weight_N * label_N * chosen).sum()))
        for chosen in (prob_N < threshold, prob_N >= threshold)
    )
    return Confusion(
        threshold=threshold, true_negative=tn, false_positive=fp, false_negative=fn, true_positive=tp
    )


def _area(positive_G: Floats, negative_G: Floats) -> float:
    below_G = np.cumsum(negative_G) - negative_G
    return float(positive_G @ (below_G + 0.5 * negative_G) / (positive_G.sum() * negative_G.sum()))


def _reliability(prob_G: Floats, clicks_G: Floats, misses_G: Floats, bins: int) -> tuple[Bin, ...]:
    """Bins of equal weight, ordered by prediction.

    Rows with equal predictions share a bin, so the table does not depend on row order; with many ties there
    are fewer than `bins` bins.
    """
    mass_G = clicks_G + misses_G
    middle_G = np.cumsum(mass_G) - 0.5 * mass_G
    bin_G = np.minimum((middle_G * (bins / mass_G.sum())).astype(np.int64), bins - 1)
    mass, clicks, predicted = (
        np.bincount(bin_G, weights=w, minlength=bins) for w in (mass_G, clicks_G, prob_G * mass_G)
    )
    return tuple(
        Bin(predicted=predicted[b] / mass[b], observed=clicks[b] / mass[b], weight=mass[b])
        for b in np.flatnonzero(mass)
    )


def _by_score(score_N: Floats, *amounts: Floats) -> tuple[Floats, ...]:
    """Distinct scores, ascending, and the sums of each amount over their rows."""
    order_N = np.argsort(score_N)
    score_N = score_N[order_N]
    starts_G = np.flatnonzero(np.concatenate([[True], score_N[1:] != score_N[:-1]]))
    return score_N[starts_G], *(np.add.reduceat(amount_N[order_N], starts_G) for amount_N in amounts)


def with_weight(weight_N: ArrayLike | None) -> slice | NDArray[np.bool_]:
    """Selects the rows that count: those with a weight other than 0."""
    if weight_N is None:
        return slice(None)
    counted_N: NDArray[np.bool_] = np.asarray(weight_N) != 0
    return counted_N


def has_both_labels(label_N: Floats, weight_N: Floats) -> bool:
    """True if both labels have a measurable share of the weight."""
    rarer = min(label_N @ weight_N, (1 - label_N) @ weight_N)
    return bool(rarer > EPSILON * weight_N.sum())


def require_both_labels(label_N: ArrayLike, weight_N: ArrayLike | None = None) -> None:
    """Raise EvaluationError unless both labels have a measurable share of the weight."""
    label_N = np.asarray(label_N, np.float64)
    weight_N = np.ones_like(label_N) if weight_N is None else np.asarray(weight_N, np.float64)
    if not has_both_labels(label_N, weight_N):
        rows = np.count_nonzero(weight_N)
        raise EvaluationError(
            f"the {rows:,} rows with weight must have both labels, 0 and 1, each with some of it"
        )


def _checked(
    score_N: ArrayLike, label_N: ArrayLike, weight_N: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    score_N, label_N = np.asarray(score_N, np.float64), np.asarray(label_N, np.float64)
    weight_N = np.ones_like(label_N) if weight_N is None else np.asarray(weight_N, np.float64)
    if not score_N.shape == label_N.shape == weight_N.shape:
        lengths = ", ".join(str(len(a)) for a in (score_N, label_N, weight_N))
        raise EvaluationError(f"scores, labels and weights must have the same length, got {lengths}")
    counted = with_weight(weight_N)
    score_N, label_N, weight_N = score_N[counted], label_N[counted], weight_N[counted]
    if not np.isfinite(score_N).all():
        bad = int((~np.isfinite(score_N)).sum())
        raise EvaluationError(f"{bad} of {len(score_N)} scores are not finite: the model diverged")
    require_both_labels(label_N, weight_N)
    return score_N, label_N, weight_N
