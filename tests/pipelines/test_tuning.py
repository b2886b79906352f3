"""Tuning in pipelines: its steps are there only in runs with tuning, and trials may be steps of their own."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ctrloom.config import CompareConfig, RunConfig
from ctrloom.config.files import read_config
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.evaluation.results import Results
from ctrloom.runners import compiled
from ctrloom.runners.local import arguments, comparison_arguments
from ctrloom.runners.request import PipelineRequest
from ctrloom.tuning.record import Tuning

SMALL = {"batch_size": [256, 512], "hidden": [[4], [8]], "embedding_size": [2, 4]}
LITTLE = {key: SMALL[key] for key in ("batch_size", "embedding_size")}
TUNING = {"trials": 3, "spaces": {"fm": LITTLE, "autofm": LITTLE, "ipnn": SMALL}}
KEEPING = {"threshold": 0.5, "permuted": 0, "confirm": False}  # something, after one epoch
TUNED = {
    "name": "tuned",
    "data": {"files": "clicks.csv", "columns": {"click": "label", "field_00..field_03": "categorical"}},
    "search": {"batch_size": 200, "random_draws": 1, "epochs": 1, **KEEPING},
    "models": {"default": {"hidden": [8], "epochs": 2, "batch_size": 500, "learning_rate": 0.01}},
    "baselines": ["fm"],
    "transfer": ["ipnn"],
    "seeds": [0],
    "evaluation": {"base": "fm", "bootstrap": 50},
    "tuning": TUNING,
}
COMPARED = {key: TUNED[key] for key in ("name", "data", "models", "tuning")} | {
    "evaluation": {"base": "fm", "bootstrap": 50},
    "seeds": [0, 1],
    "entries": [
        {"name": "fm", "model": "fm"},
        {
            "name": "found",
            "search": {"batch_size": 200, "epochs": 1, **KEEPING},
            "controls": ["random"],
        },
    ],
}
STEPS = {"comp-tune", "comp-collect-tuning"}
WITH_STEPS = [name for name in compiled.names() if compiled.read(name)[0]["components"].keys() >= STEPS]


def test_every_pipeline_that_trains_several_models_can_tune_them() -> None:
    searching = {name for name in compiled.names() if name.startswith("search_and_retrain")}
    assert set(WITH_STEPS) == {*searching, "compare", "regression_eval"}


def used(spec: dict[str, Any]) -> set[str]:
    return {task["componentRef"]["name"] for task in compiled.tasks(spec)}


@pytest.mark.parametrize("name", WITH_STEPS)
def test_a_run_without_tuning_has_no_steps_of_it(name: str) -> None:
    spec, _ = compiled.read(name)
    whole = used(spec)
    tracking = {"tracking": {"tensorboard": "gs://bucket"}}
    compiled.remove_idle(spec, {**tracking, "tuning": {"trials": 3}})
    assert used(spec) == whole
    compiled.remove_idle(spec, tracking)
    left = {task["componentRef"]["name"] for task in spec["root"]["dag"]["tasks"].values()}
    gone = {name for name in whole if name not in used(spec)}
    assert gone <= STEPS | {"comp-for-loop-1"}
    assert not left & STEPS
    for component in (spec["root"], *(spec["components"][each] for each in left)):
        assert "tuned" not in json.dumps(component.get("dag", {}).get("tasks", {}))
        assert "tuned" not in json.dumps(component.get("inputDefinitions", {})) or "dag" not in component


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning")
    synthesize(SynthConfig(rows=4_000, fields=4, sizes=(8,), pairs=2, seed=3), folder)
    (folder / "tuned.yaml").write_text(yaml.safe_dump(TUNED))
    (folder / "compare.yaml").write_text(yaml.safe_dump(COMPARED))
    return folder


@pytest.fixture(scope="module")
def ctrloom(python: str, folder: Path) -> Any:
    def run(*arguments: str) -> str:
        command = [python, "-m", "ctrloom", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_requests_have_the_steps_only_with_tuning(folder: Path) -> None:
    config = read_config(RunConfig, folder / "tuned.yaml")
    without = config.model_copy(update={"tuning": None})
    for given, there in ((config, True), (without, False)):
        offered = arguments(given, "gs://bucket/store")
        request = PipelineRequest.of("search_and_retrain_autofis", offered, {})
        spec = request.body["pipeline_spec"]
        assert ("collect-tuning" in spec["root"]["dag"]["tasks"]) is there
        assert ("tunings" in request.parameters) is there
    jobs = arguments(config, "gs://bucket/store")["tunings"]
    assert [job["targets"][0]["name"] for job in jobs] == ["fm", "autofm", "ipnn-transfer"]  # type: ignore[attr-defined]
    assert "null" not in json.dumps(jobs)
    compared = comparison_arguments(read_config(CompareConfig, folder / "compare.yaml"), "store")
    assert len(compared["tunings"]) == 2  # type: ignore[arg-type]


def test_a_run_tunes_every_model_before_its_seeds(ctrloom: Any, folder: Path) -> None:
    ctrloom("run", "tuned.yaml", "--output", "out")
    results, tuning = (
        Results.load(folder / "out" / "metrics.json"),
        Tuning.load(folder / "out"),
    )
    assert results.tuning == tuning.summary()
    assert {model.name: len(model.trials) for model in tuning.models} == {
        "fm": 3,
        "autofm": 3,
        "ipnn-transfer": 3,
    }
    for model in results.models:
        name = model.name if model.kind != "control" else "autofm"
        for key, value in tuning.settings(name).items():
            assert model.hyperparameters[key] == value
    assert len(list((folder / "out" / "data" / "studies").glob("*.json"))) == 3
    assert "same budget: 3 trials" in (folder / "out" / "report.html").read_text()


def test_every_trial_can_be_a_step(ctrloom: Any, folder: Path) -> None:
    said = ctrloom("tune", "tuned.yaml", "--pipeline", "--output", "trials")
    assert "same budget: 3 trials" in said
    tuning = Tuning.load(folder / "trials")
    assert tuning.budget is not None
    assert (tuning.budget.sampler, tuning.budget.pruner) == ("random", "none")
    assert {model.name: [t.number for t in model.trials] for model in tuning.models} == {
        "fm": [0, 1, 2],
        "autofm": [0, 1, 2],
        "ipnn-transfer": [0, 1, 2],
    }
    steps = list((folder / "trials" / "steps").rglob("executor_output.json"))
    assert sum("tune-trial" in str(step) for step in steps) == 9
    (page,) = (folder / "trials" / "steps").rglob("page")
    assert "| ipnn-transfer | 3 trials |" in page.read_text()
    random = ["--set", "tuning.sampler=random", "--set", "tuning.pruner=none"]
    manifest = ctrloom("vocabulary", "tuned.yaml", "--store", "trials/data").strip()
    ctrloom("tune", "tuned.yaml", "--dataset", manifest, "--model", "fm", "--output", "one", *random)
    (alone,) = Tuning.load(folder / "one").models
    parallel = next(model for model in tuning.models if model.name == "fm")
    assert [t.settings for t in alone.trials] == [t.settings for t in parallel.trials]
    for mine, theirs in zip(alone.trials, parallel.trials, strict=True):
        assert mine.scores == pytest.approx(theirs.scores, abs=1e-4)  # threads may differ


def test_a_compared_entry_is_tuned_once_for_all_seeds(ctrloom: Any, folder: Path) -> None:
    ctrloom("compare", "compare.yaml", "--pipeline", "--output", "pipeline")
    ctrloom("compare", "compare.yaml", "--output", "processes")
    for output in ("pipeline", "processes"):
        results = Results.load(folder / output / "comparison" / "metrics.json")
        tuning = Tuning.load(folder / output)
        assert results.tuning == tuning.summary()
        assert [model.name for model in tuning.models] == ["fm", "found"]
        for model in results.models:
            assert {each.seed for each in model.seeds} == {each.seed for each in results.models[0].seeds}
            for key, value in tuning.settings(model.name.removesuffix("-random")).items():
                assert model.hyperparameters[key] == value
