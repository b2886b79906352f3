"""Decide whether a challenger replaces the champion: same rows for both, one check per threshold."""

import math
from pathlib import Path
from typing import Literal, NamedTuple

from ctrloom import storage
from ctrloom.config.base import StrictModel
from ctrloom.config.promotion_gate import PromotionGateConfig
from ctrloom.evaluation.bootstrap import bootstrap_logloss
from ctrloom.evaluation.significance import Comparison, delong
from ctrloom.metrics.measure import Floats, Metrics, measure, with_weight

COUNTS = ("evidence", "training")  # checks of whole numbers


class Check(StrictModel):
    """One threshold: a figure, and the bounds that it must lie within."""

    name: str
    what: str
    value: float
    low: float | None = None
    high: float | None = None
    strict: bool = False  # must be above `low`, not equal
    passed: bool

    @property
    def shown(self) -> str:
        """The value: counts without decimals, everything else with five."""
        return f"{self.value:,.0f}" if self.name in COUNTS else f"{self.value:.5f}"

    @property
    def bounds(self) -> str:
        """`at least 0.9, at most 1.1`."""
        ends = (("above" if self.strict else "at least", self.low), ("at most", self.high))
        return ", ".join(f"{word} {end:g}" for word, end in ends if end is not None)


class Contestant(StrictModel):
    """A model that the gate compares."""

    title: str
    version: str | None = None  # in the registry; a challenger has none yet
    generation: str | None = None  # of its promotion
    trained_on: str  # data fingerprint
    metrics: Metrics


class PromotionVerdict(StrictModel):
    """`verdict.json`: the gate's decision, and every figure behind it."""

    version: Literal[1] = 1
    promote: bool
    reason: str
    rows: int
    clicks: int
    data_fingerprint: str  # of the rows that both were scored on
    challenger: Contestant
    champion: Contestant | None
    auc: Comparison | None  # challenger minus champion
    logloss: Comparison | None
    checks: tuple[Check, ...]
    gate: PromotionGateConfig
    code_version: str

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)


class Scores(NamedTuple):
    """A model and its logits on the rows of the gate."""

    title: str
    version: str | None
    generation: str | None
    trained_on: str
    logit_N: Floats
    limited_by: str | None = None  # setting that ended its training while it was still improving


def decide(
    challenger: Scores,
    champion: Scores | None,
    label_N: Floats,
    weight_N: Floats | None,
    config: PromotionGateConfig,
    data_fingerprint: str,
    code_version: str,
) -> PromotionVerdict:
    """Compare two models on the same rows; without a champion, only the absolute bounds apply.

    Raises:
        EvaluationError: the rows cannot be evaluated, such as rows of one class, or scores are not finite.
    """
    mine = measure(challenger.logit_N, label_N, weight_N, config.bins)
    clicks = int(label_N[with_weight(weight_N)].sum())
    checks = _absolute(mine, min(clicks, mine.rows - clicks), config)
    if challenger.limited_by:
        checks.insert(0, _check("training", "trainings that ended while still improving", 1, high=0))
    auc = logloss = theirs = None
    if champion:
        theirs = measure(champion.logit_N, label_N, weight_N, config.bins)
        sides = (challenger.logit_N, champion.logit_N, label_N, weight_N, config.confidence)
        auc = delong(*sides)
        logloss = bootstrap_logloss(*sides, config.bootstrap, config.seed)
        checks += _relative(auc, logloss, config)
    failed = [check for check in checks if not check.passed]
    return PromotionVerdict(
        promote=not failed,
        reason=_reason(champion, auc, failed, challenger.limited_by),
        rows=mine.rows,
        clicks=clicks,
        data_fingerprint=data_fingerprint,
        challenger=_contestant(challenger, mine),
        champion=_contestant(champion, theirs) if champion and theirs else None,
        auc=auc,
        logloss=logloss,
        checks=tuple(checks),
        gate=config,
        code_version=code_version,
    )


def load_verdict(path: Path) -> PromotionVerdict:
    """Read `verdict.json`.

    Raises:
        StorageError: no such file, or no JSON.
        ConfigError: it holds no verdict.
    """
    return storage.read_record(path, PromotionVerdict)


def beyond_chance(metrics: Metrics) -> float:
    """Calibration error minus its expectation for a perfectly calibrated model, at least 0.

    In a bin of n rows, the observed rate is off by sqrt(2 p (1 - p) / (pi n)) on average by chance; a weight
    counts relative to the mean weight.
    """
    rows = metrics.rows / sum(b.weight for b in metrics.reliability)  # per unit of weight
    chance = sum(
        math.sqrt(2 / math.pi * b.weight * rows * b.predicted * (1 - b.predicted))
        for b in metrics.reliability
    )
    return max(0.0, metrics.calibration_error - chance / metrics.rows)


def _contestant(scores: Scores, metrics: Metrics) -> Contestant:
    return Contestant(
        title=scores.title,
        version=scores.version,
        generation=scores.generation,
        trained_on=scores.trained_on,
        metrics=metrics,
    )


def _absolute(metrics: Metrics, rarer: int, config: PromotionGateConfig) -> list[Check]:
    return [
        _check("evidence", "rows of the rarer label", rarer, low=config.min_clicks),
        _check("auc", "AUC of the challenger", metrics.auc, low=config.min_auc),
        _check(
            "normalised_entropy",
            "logloss relative to predicting the click rate",
            metrics.normalised_entropy,
            high=config.max_normalised_entropy,
        ),
        _check(
            "calibration_ratio",
            "predicted relative to observed clicks",
            metrics.calibration_ratio,
            config.calibration_low,
            config.calibration_high,
        ),
        _check(
            "calibration_error",
            "calibration error (ECE) beyond chance",
            beyond_chance(metrics),
            high=config.calibration_error,
        ),
    ]


def _relative(auc: Comparison, logloss: Comparison, config: PromotionGateConfig) -> list[Check]:
    level = f"{100 * config.confidence:g} % interval"
    low = f"lower end of the {level} of the AUC difference"
    better = config.require == "better"  # identical rankings have an interval of width 0
    name, bound = ("auc_gain", config.min_auc_gain) if better else ("auc_not_worse", -config.auc_margin)
    first = _check(name, low, auc.low, low=bound, strict=better)
    high = f"upper end of the {level} of the logloss difference"
    return [first, _check("logloss_not_worse", high, logloss.high, high=config.logloss_margin)]


def _check(
    name: str,
    what: str,
    value: float,
    low: float | None = None,
    high: float | None = None,
    strict: bool = False,
) -> Check:
    above = low is None or value > low or (value == low and not strict)
    passed = above and (high is None or value <= high)
    return Check(name=name, what=what, value=value, low=low, high=high, strict=strict, passed=passed)


def _reason(
    champion: Scores | None, auc: Comparison | None, failed: list[Check], limited_by: str | None
) -> str:
    if failed:
        short = (
            f"the challenger was still improving when its training ended; raise {limited_by}, or "
            "training.settings.epochs in a retraining, and train it again"
        )
        found = "; ".join(
            short if check.name == "training" else f"{check.what} is {check.value:.4g}, not {check.bounds}"
            for check in failed
        )
        return f"{'The champion stays' if champion else 'Not promoted'}: {found}."
    if auc is None:
        return "There is no champion yet, and the challenger passed every check."
    return f"The challenger passed every check; its AUC differs from the champion's by {auc.delta:+.4f}."
