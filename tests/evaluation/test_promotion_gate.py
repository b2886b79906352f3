"""The gate promotes only better models."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from ctrloom.config.base import ConfigError
from ctrloom.config.promotion_gate import PromotionGateConfig
from ctrloom.evaluation.markdown import promotion_markdown
from ctrloom.evaluation.promotion_gate import PromotionVerdict, Scores, decide
from ctrloom.metrics.measure import EvaluationError

ROWS = 5_000
RNG = np.random.default_rng(7)
PARTS = RNG.normal(0, 1, (3, ROWS))  # of the true logit: known to all models, to the better one, to none
TRUTH = -1.2 + PARTS[0] + 0.7 * PARTS[1]
LABEL = (RNG.random(ROWS) < expit(TRUTH)).astype(float)


def honest(*parts):
    """The best logit given these parts of the true logit, calibrated on the labels."""
    from sklearn.linear_model import LogisticRegression

    x = np.stack(parts, 1)
    return LogisticRegression(C=1e6).fit(x, LABEL).decision_function(x)


GOOD, WEAK = honest(PARTS[0], PARTS[1]), honest(PARTS[0])


def gate(challenger, champion, **config):
    against = None if champion is None else Scores("M", "v1", "7", "data", champion)
    config = PromotionGateConfig.parse({"bootstrap": 100, **config}, "gate")
    return decide(Scores("M", None, None, "data", challenger), against, LABEL, None, config, "rows", "code")


def failed(verdict):
    return {check.name for check in verdict.failed}


@pytest.mark.parametrize("require", ["better", "not_worse"])
def test_a_better_challenger_is_promoted(require):
    verdict = gate(GOOD, WEAK, require=require)
    assert verdict.promote
    assert failed(verdict) == set()
    assert verdict.auc.delta == pytest.approx(roc_auc_score(LABEL, GOOD) - roc_auc_score(LABEL, WEAK))
    losses = [log_loss(LABEL, expit(x)) for x in (GOOD, WEAK)]
    assert verdict.logloss.delta == pytest.approx(losses[0] - losses[1])


@pytest.mark.parametrize("require", ["better", "not_worse"])
def test_a_worse_challenger_is_stopped(require):
    verdict = gate(WEAK, GOOD, require=require)
    assert not verdict.promote
    assert failed(verdict) == {"auc_gain" if require == "better" else "auc_not_worse", "logloss_not_worse"}
    assert "champion stays" in verdict.reason


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_equal_models_are_promoted_only_with_not_worse(noise):
    twin = GOOD + noise * PARTS[2]
    assert failed(gate(twin, GOOD)) == {"auc_gain"}
    assert gate(twin, GOOD, require="not_worse").promote


BROKEN = {"calibration_ratio": GOOD + 0.4, "calibration_error": 2 * GOOD + 0.9}


@pytest.mark.parametrize(("check", "broken"), BROKEN.items())
def test_better_ranking_with_broken_calibration_is_stopped(check, broken):
    verdict = gate(broken, WEAK, logloss_margin=1.0)
    assert verdict.auc.delta > 0.02
    assert not verdict.promote
    assert check in failed(verdict)
    assert failed(verdict) <= {"calibration_ratio", "calibration_error"}


def test_first_champion_needs_only_the_absolute_bounds():
    verdict = gate(WEAK, None)
    assert verdict.promote
    assert verdict.champion is verdict.auc is verdict.logloss is None
    assert failed(gate(RNG.normal(0, 1, ROWS), None)) >= {"normalised_entropy", "calibration_error"}
    assert failed(gate(WEAK, None, min_auc=0.99)) == {"auc"}


def test_gate_requires_a_minimum_number_of_clicks():
    assert failed(gate(GOOD, WEAK, min_clicks=ROWS)) == {"evidence"}


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 2))
def test_two_models_never_both_replace_each_other(seed, spread):
    other = GOOD + spread * np.random.default_rng(seed).normal(0, 1, ROWS)
    there, back = gate(other, GOOD, bootstrap=50), gate(GOOD, other, bootstrap=50)
    assert not (there.promote and back.promote)
    assert there.auc.delta == pytest.approx(-back.auc.delta)


@pytest.mark.parametrize("champion", [None, Scores("M", "v1", "7", "data", WEAK, "models.fm.epochs")])
def test_challenger_that_was_still_improving_is_stopped(champion):
    challenger = Scores("M", None, None, "data", GOOD, "models.fm.epochs")
    config = PromotionGateConfig(bootstrap=100)
    verdict = decide(challenger, champion, LABEL, None, config, "rows", "code")
    assert failed(verdict) == {"training"}
    assert not verdict.promote
    assert "still improving when its training ended; raise models.fm.epochs" in verdict.reason
    assert "| training | trainings that ended while still improving | 1 | at most 0 |" in promotion_markdown(
        verdict
    )
    again = challenger._replace(limited_by=None)
    assert decide(again, champion, LABEL, None, config, "rows", "code").promote


def test_figures_of_calibration_have_different_names():
    text = promotion_markdown(gate(GOOD, WEAK))
    (check,) = (line for line in text.splitlines() if "| calibration_error |" in line)
    assert "calibration error (ECE) beyond chance" in check
    (head,) = (line for line in text.splitlines() if "| AUC |" in line)
    assert head.endswith("| calibration ratio | ECE |")


def test_gate_rejects_scores_that_are_not_finite():
    with pytest.raises(EvaluationError, match="not finite"):
        gate(np.where(LABEL == 1, np.nan, 0), GOOD)


def test_verdict_round_trips_through_json_and_renders_as_markdown():
    verdict = gate(WEAK, GOOD)
    assert PromotionVerdict.parse(json.loads(json.dumps(verdict.model_dump(mode="json"))), "test") == verdict
    text = promotion_markdown(verdict)
    assert text.startswith("## Gate: stop")
    for check in verdict.checks:
        assert f"| {check.name} |" in text
        shown = f"{check.value:,.0f}" if check.name == "evidence" else f"{check.value:.5f}"
        assert f"| {shown} | {check.bounds} |" in text
    assert text.count("**failed**") == len(verdict.failed) == 2


def test_gate_config_rejects_empty_bounds():
    with pytest.raises(ConfigError, match="calibration_low"):
        PromotionGateConfig.parse({"calibration_low": 1.2}, "gate")
