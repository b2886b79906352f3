"""A scheduled retraining and a regression evaluation through KFP's local runner, as a user runs them."""

import json
import os
import signal
import subprocess
import time
from datetime import date
from pathlib import Path

import pytest
import yaml

from ctrloom import stages
from ctrloom.config import ModelsConfig, VocabularyConfig
from ctrloom.config.files import load_retraining_config
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.date_window import windowed
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.serving.registry import Registry
from ctrloom.training.runs import open_runs

SYNTH = SynthConfig(
    rows=6_000, fields=3, sizes=(10,), pairs=1, main_effects=1.0, noise=0.5, zipf=0.0, days=2, renewed=0.3
)
COLUMNS = {"click": "label", "field_00..field_02": "categorical", "time": "timestamp"}
CONFIG = {
    "name": "daily",
    "registry": "registry",
    "data": {
        "files": "clicks-{date}.csv",
        "columns": COLUMNS,
        "split": {"by": "time", "valid": 0.1, "test": 0.2},
    },
    "growth": {"min_count": 5},
    "gate": {"require": "not_worse", "auc_margin": 0.002, "bootstrap": 100, "calibration_error": 0.05},
}
MODEL = {"embedding_size": 4, "hidden": [8], "epochs": 40, "batch_size": 300, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def ctrloom(python):
    def run(*arguments, cwd):
        command = [python, "-m", "ctrloom", *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=900, check=False)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two days of clicks, and a champion that was trained on the first."""
    folder = tmp_path_factory.mktemp("retraining")
    synthesize(SYNTH, folder)
    (folder / "daily.yaml").write_text(yaml.safe_dump(CONFIG))
    data = windowed(load_retraining_config(folder / "daily.yaml").data, date(2026, 1, 1), 1)
    dataset = stages.vocabulary(stages.ingest(data, folder / "store"), VocabularyConfig(), folder / "store")
    for name, seed in (("first", 0), ("other", 1)):
        stages.baselines(dataset, ["fm"], ModelsConfig({"default": MODEL}), [seed], folder / f"runs-{name}")
        open_runs(folder / f"runs-{name}")[0].export(Dataset.open(dataset), folder / name)
    stages.promote(str(folder / "registry"), folder / "first")
    return folder


def champion(folder):
    return Registry(str(folder / "registry")).champion()[0]


def retrain(ctrloom, folder, output, *settings):
    options = [part for setting in settings for part in ("--set", setting)]
    done = ctrloom(
        "scheduled-retrain", "daily.yaml", "--until", "2026-01-02", "--output", output, *options, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    steps = {path.parent.name for path in (folder / output / "steps").rglob("executor_output.json")}
    return done, steps


def test_the_gate_stops_a_promotion_and_the_champion_stays(folder, ctrloom):
    first = champion(folder)
    done, steps = retrain(ctrloom, folder, "stopped", "gate.min_auc=0.999")
    assert "The champion stays: AUC of the challenger is" in done.stdout
    assert "promote" not in steps
    assert champion(folder) == first
    assert not json.loads((folder / "stopped" / "verdict.json").read_text())["promote"]
    for name in ("verdict.md", "report.html", "report.md", "bundle/model.safetensors", "log.txt"):
        assert (folder / "stopped" / name).is_file(), name
    drift = json.loads((folder / "stopped" / "drift.json").read_text())
    assert {field["new_ids"] for field in drift["fields"]} == {3}


def test_challenger_that_passes_the_gate_becomes_champion(folder, ctrloom):
    first = champion(folder)
    done, steps = retrain(ctrloom, folder, "daily")
    assert "The challenger passed every check" in done.stdout
    assert "promote" in steps
    assert champion(folder) != first
    assert Registry(str(folder / "registry")).record().previous == first


def back_to(folder, bundle):
    """Promotes a bundle of the folder again; returns its version."""
    return stages.promote(str(folder / "registry"), folder / bundle)


@pytest.fixture
def killed(folder, python):
    """Kills a retraining as soon as something holds."""

    def kill(output, reached):
        command = ["scheduled-retrain", "daily.yaml", "--until", "2026-01-02", "--output", output]
        with subprocess.Popen([python, "-m", "ctrloom", *command], cwd=folder, process_group=0) as running:
            while not reached():
                assert running.poll() is None
                time.sleep(0.002)
            os.killpg(running.pid, signal.SIGKILL)
        assert (folder / output / ".begun").exists(), "it ended before it was killed"

    return kill


def ended(folder, output, *steps):
    """How often steps ended; the run may go on, and rename folders meanwhile, which a glob does not bear."""
    walk = os.walk(folder / output / "steps")
    found = [Path(place).name for place, _, files in walk if "executor_output.json" in files]
    return [found.count(step) for step in steps]


def same_results(folder, one, other):
    weights, theirs = (folder / run / "bundle" / "model.safetensors" for run in (one, other))
    assert weights.read_bytes() == theirs.read_bytes()
    verdicts = [json.loads((folder / run / "verdict.json").read_text()) for run in (one, other)]
    for verdict in verdicts:
        del verdict["checksum"], verdict["champion"]["generation"]
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("output", ["after-its-end", "before-its-end"])
def test_a_run_that_is_killed_after_its_promotion_ends_as_it_would_have(folder, killed, ctrloom, output):
    first = back_to(folder, "first")

    def promoted():
        recorded = ended(folder, output, "promote") == [1]
        return recorded if output == "after-its-end" else champion(folder) != first

    killed(output, promoted)
    challenger = champion(folder)
    assert challenger != first
    retrain(ctrloom, folder, output)
    assert champion(folder) == challenger
    assert Registry(str(folder / "registry")).record().previous == first
    same_results(folder, output, "daily")
    assert ended(folder, output, "champion", "refresh", "gate") == [1, 1, 1]


def test_a_resumed_run_begins_with_the_current_champion(folder, killed, ctrloom):
    back_to(folder, "first")
    killed("overtaken", lambda: ended(folder, "overtaken", "gate") == [1])
    back_to(folder, "other")
    generation = Registry(str(folder / "registry")).champion()[1]
    done, _ = retrain(ctrloom, folder, "overtaken")
    assert "has another champion since this run was stopped" in done.stderr
    assert "is missing" not in done.stderr
    verdict = json.loads((folder / "overtaken" / "verdict.json").read_text())
    assert verdict["champion"]["generation"] == generation
    assert ended(folder, "overtaken", "ingest-window", "champion", "refresh") == [1, 1, 2]


def test_user_errors_are_reported_before_a_step_runs(folder, ctrloom):
    for until, settings, told in (
        ("monday", [], "'monday' is not a date"),
        ("2026-01-02", ["--set", "data.files=clicks.csv"], "no file name contains {date}"),
        ("2026-01-02", ["--set", "gate.min_acu=1"], "did you mean 'min_auc'"),
    ):
        command = ("scheduled-retrain", "daily.yaml", "--until", until, "--output", "x")
        done = ctrloom(*command, *settings, cwd=folder)
        assert done.returncode == 2, told
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_a_regression_has_a_verdict_and_an_exit_status(folder, ctrloom):
    comparison = {
        "name": "fixed",
        "data": {**CONFIG["data"], "files": "clicks-2026-01-01.csv"},
        "models": {"default": MODEL},
        "seeds": [0],
        "evaluation": {"base": "lr", "bootstrap": 50},
        "entries": [{"name": "lr", "model": "lr"}, {"name": "fm", "model": "fm"}],
    }
    (folder / "fixed.yaml").write_text(yaml.safe_dump(comparison))
    command = ("regression", "fixed.yaml", "--baseline", "baseline.json", "--output", "regression")
    done = ctrloom(*command, cwd=folder)
    assert done.returncode == 2
    assert "baseline.json" in done.stderr
    done = ctrloom(*command, "--accept", cwd=folder)
    assert done.returncode == 0, done.stderr
    baseline = json.loads((folder / "baseline.json").read_text())
    assert list(baseline["models"]) == ["lr", "fm"]

    del baseline["checksum"]  # else a figure that was changed by hand is damage
    baseline["models"]["fm"]["auc"] += 0.01
    (folder / "baseline.json").write_text(json.dumps(baseline))
    done = ctrloom(*command, cwd=folder)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("## Regression of fixed: failed")
    assert done.stdout.count("**failed**") == 1
    checks = json.loads((folder / "regression" / "verdict.json").read_text())["checks"]
    failed = [(check["model"], check["metric"]) for check in checks if not check["passed"]]
    assert failed == [("fm", "auc")]
    assert next(check["worse"] for check in checks if not check["passed"]) == pytest.approx(0.01, abs=1e-3)
