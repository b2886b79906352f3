"""Regression checks pass, fail, or cannot be compared."""

import json
import re
from pathlib import Path

import pytest
import yaml
from invented_results import made_up
from typer.testing import CliRunner

import ctrloom
from ctrloom.cli import app
from ctrloom.config.base import ConfigError
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.evaluation.failed_entries import EntriesFailedError
from ctrloom.evaluation.regression import (
    Figures,
    Tolerance,
    UnfinishedError,
    accepted,
    baseline_of,
    judge,
    load_baseline,
    regression_markdown,
)

ROOT = Path(__file__).parents[2]

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


def test_an_entry_that_failed_fails_although_the_baseline_is_without_it():
    failed = NOW.model_copy(update={"failed": {"new": "seed 3: diverged\nat once"}})
    verdict = judge(failed, BASELINE)
    assert not verdict.passed
    assert verdict.reason == "new failed: seed 3: diverged, at once."
    assert all(check.passed for check in verdict.checks)
    message = "1 of the entries failed, and the table is without them: new: seed 3: diverged, at once"
    with pytest.raises(EntriesFailedError, match=f"^{message}$"):
        accepted(failed, Tolerance())


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


def test_figures_of_trainings_that_ended_too_early_fail():
    models = tuple(
        m.model_copy(update={"limited_by": f"models.{m.name}.epochs"}) if m.name == NAME else m
        for m in NOW.models
    )
    results = NOW.model_copy(update={"models": models})
    verdict = judge(results, BASELINE)
    assert not verdict.passed
    said = f"{NAME} was still improving when training ended; raise models.{NAME}.epochs"
    assert verdict.problems == (said,)
    assert said in regression_markdown(verdict)
    others = {name: figures for name, figures in BASELINE.models.items() if name != NAME}
    assert judge(results, BASELINE.model_copy(update={"models": others})).passed
    with pytest.raises(UnfinishedError, match=f"not accepted: {said}"):
        accepted(results, Tolerance())
    assert accepted(NOW, Tolerance()).models == BASELINE.models


def test_the_stored_baseline_is_of_the_data_that_ci_makes(tmp_path: Path) -> None:
    """Otherwise every check of CI fails, whatever its figures."""
    (command,) = re.findall(r"ctrloom synth --output \S+ (.*)", (ROOT / ".ci" / "regression").read_text())
    settings = {key: yaml.safe_load(value) for key, value in re.findall(r"--set (\w+)=(\S+)", command)}
    clicks = synthesize(SynthConfig.parse(settings, "synth"), tmp_path / "data")
    folder = ROOT / "configs" / "regression"
    config = ctrloom.load_config(
        folder / "planted.yaml", {"data.files": str(clicks)}, kind=ctrloom.CompareConfig
    )
    dataset = ctrloom.encode(config, store=tmp_path / "store")
    assert dataset.data_fingerprint == load_baseline(folder / "planted.json").data_fingerprint


def test_the_first_regression_names_the_option_that_stores_figures(tmp_path: Path) -> None:
    data = {"files": "clicks.csv", "columns": {"click": "label", "user": "categorical"}}
    config = {
        "name": "a",
        "data": data,
        "entries": [{"name": "lr", "model": "lr"}],
        "evaluation": {"base": "lr"},
    }
    (tmp_path / "a.yaml").write_text(json.dumps(config))
    where = ["--baseline", str(tmp_path / "new.json"), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["regression", str(tmp_path / "a.yaml"), *where])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith(f"{tmp_path}/new.json: no figures are stored yet; ")
    assert "--accept" in str(done.exception)
    assert not (tmp_path / "out").exists()
