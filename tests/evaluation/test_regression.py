"""Regression checks pass, fail, or cannot be compared."""

import pytest
from invented_results import made_up

from ctrloom.evaluation.regression import Figures, Tolerance, baseline_of, judge, regression_markdown

NOW, _ = made_up()
BASELINE = baseline_of(NOW, Tolerance(auc=0.001, logloss=0.002))
NAME = next(iter(BASELINE.models))


def moved(auc=0.0, logloss=0.0):
    """A baseline in which one model was better by `auc` and `logloss`."""
    was = BASELINE.models[NAME]
    figures = Figures(auc=was.auc + auc, logloss=was.logloss - logloss)
    return BASELINE.model_copy(update={"models": {**BASELINE.models, NAME: figures}})


def test_the_same_figures_pass():
    verdict = judge(NOW, BASELINE)
    assert verdict.passed
    assert len(verdict.checks) == 2 * len(NOW.models)
    assert all(check.worse == 0 for check in verdict.checks)
    assert "passed" in regression_markdown(verdict).splitlines()[0]


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({"auc": 0.0009, "logloss": 0.0019}, set()),
        ({"auc": 0.0011}, {"auc"}),
        ({"logloss": 0.0021}, {"logloss"}),
        ({"auc": -0.1, "logloss": -0.1}, set()),  # better than it was
    ],
)
def test_worse_than_the_tolerance_fails(change, failed):
    verdict = judge(NOW, moved(**change))
    assert {check.metric for check in verdict.checks if not check.passed} == failed
    assert {check.model for check in verdict.checks if not check.passed} <= {NAME}
    assert verdict.passed == (not failed)
    text = regression_markdown(verdict)
    assert text.count("**failed**") == len(failed)
    assert all(f"{metric} of" in verdict.reason for metric in failed)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"data_fingerprint": "other"}, "fingerprint differs"),
        ({"rows": 1}, "instead of 1"),
        ({"seeds": (7,)}, r"instead of \[7\]"),
        ({"models": {**BASELINE.models, "gone": BASELINE.models[NAME]}}, "gone is no longer trained"),
    ],
)
def test_what_cannot_be_compared_fails(change, told):
    verdict = judge(NOW, BASELINE.model_copy(update=change))
    assert not verdict.passed
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(verdict.reason)
