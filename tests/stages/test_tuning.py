"""Tuning of real models on small data: reproducible, resumable, and never with test rows."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from processes import fork_server
from small import QUICK

import ctrloom
from ctrloom import stages, storage
from ctrloom.architecture import Architecture, Interaction, KeptPositions
from ctrloom.config import CompareConfig, Hyperparameters, RunConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.tuning import Target, TuningConfig, TuningJob
from ctrloom.data.dataset import Dataset
from ctrloom.data.manifest import EncodedManifest
from ctrloom.evaluation.results import Results
from ctrloom.runners import compare
from ctrloom.stages.tuning import subject_of
from ctrloom.training.batch_sources import BatchSources
from ctrloom.training.runs import open_runs
from ctrloom.tuning.record import Tuning

SMALL = {
    "embedding_size": [2, 4],
    "batch_size": [128, 256],
    "learning_rate": {"low": 0.003, "high": 0.05, "log": True},
}
SPACES: dict[str, Any] = {
    "fm": SMALL,
    "autofm": SMALL,
    "ipnn": {**SMALL, "hidden": [[8], [4, 4]]},
    "gbdt": {},
}
BUDGET = {"trials": 4, "spaces": SPACES}
KEEPING = {"threshold": 0.5, "permuted": 0, "confirm": False}  # something, after one epoch
QUICKLY = {
    **QUICK,
    **{f"search.{key}": value for key, value in KEEPING.items()},
    "models.default": {"embedding_size": 4, "hidden": [8], "epochs": 2},
}
CONFIG = TuningConfig.parse(BUDGET, "tuning")


@pytest.fixture(scope="module")
def without_test(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoded data of `mixed`, whose test rows cannot be read."""
    folder = tmp_path_factory.mktemp("blind") / "data"
    shutil.copytree(str(mixed.directory), folder)
    for part in (folder / "test").rglob("*.parquet"):
        part.write_bytes(bytes(part.stat().st_size))
    manifest = storage.read_record(folder / "manifest.json", EncodedManifest)
    storage.write_record(folder / "manifest.json", manifest.model_copy(update={"base": str(folder)}))
    with pytest.raises(Exception, match="parquet"):
        Dataset.open(folder).rows("test")
    return folder / "manifest.json"


def job(model: str, **settings: Any) -> TuningJob:
    models = {"default": {"embedding_size": 4, "hidden": [8], "epochs": 3, **settings}}
    return TuningJob.model_validate({"targets": [{"name": model, "model": model}], "models": models})


def tuned(manifest: Path, model: str, folder: Path, **budget: Any) -> Tuning:
    config = TuningConfig.parse({**BUDGET, **budget}, "tuning")
    return stages.tune(manifest, job(model), config, folder / "studies", folder / "out")


def without_clock(tuning: Tuning) -> list[Any]:
    return [[t.model_dump(exclude={"seconds"}) for t in model.trials] for model in tuning.models]


@pytest.mark.parametrize("model", ["fm", "gbdt", "gbdtlr"])
def test_tuning_is_reproducible_and_reads_no_test_rows(
    model: str, without_test: Path, tmp_path: Path
) -> None:
    first = tuned(without_test, model, tmp_path / "first")
    assert without_clock(tuned(without_test, model, tmp_path / "second")) == without_clock(first)
    assert Tuning.load(tmp_path / "first" / "out") == first
    (done,) = first.models
    assert len(done.trials) == 4
    best, configured = done.best("logloss").score, done.trials[0].score
    assert best is not None
    assert configured is not None
    assert best <= configured


def test_a_stage_that_was_killed_resumes(
    without_test: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tuned(without_test, "fm", tmp_path / "whole")
    from ctrloom.stages import tuning

    train, calls = tuning.train_model, list[int]()

    def killed(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(*arguments, **named)

    monkeypatch.setattr(tuning, "train_model", killed)
    with pytest.raises(KeyboardInterrupt):
        tuned(without_test, "fm", tmp_path / "killed")
    assert not (tmp_path / "killed" / "out").exists()
    assert without_clock(tuned(without_test, "fm", tmp_path / "killed")) == without_clock(whole)
    assert len(calls) == 5
    tuned(without_test, "fm", tmp_path / "killed")
    assert len(calls) == 5, "it is finished"


def test_the_score_of_a_trial_is_that_of_a_training_with_its_settings(mixed: Dataset, tmp_path: Path) -> None:
    (done,) = tuned(Path(mixed.path), "fm", tmp_path).models
    for trial in done.trials[1:]:
        if trial.state != "complete":
            continue
        models = job("fm").models.override("fm", trial.settings)
        stages.baselines(mixed.path, ["fm"], models, [0], tmp_path / "runs")
        (run,) = open_runs(tmp_path / "runs")
        assert run.record.seeds[0].history.best_epoch.valid_logloss == trial.score


def subject(mixed: Dataset, job: TuningJob) -> Any:
    sources = BatchSources(mixed, "train", "valid")
    return subject_of(job.targets[0], job.models, job.seed, CONFIG, sources, None)


def test_a_study_is_named_by_what_it_depends_on(mixed: Dataset) -> None:
    from ctrloom.tuning.record import Budget
    from ctrloom.tuning.study import fingerprint_of

    jobs = [
        job("fm"),
        job("fm", epochs=4),
        job("fwfm"),
        job("fm").model_copy(update={"seed": 1}),
        job("fm").model_copy(update={"targets": (Target(name="fm", model="fm", orders=(2, 3)),)}),
    ]
    budget = Budget.of(CONFIG)
    assert len({fingerprint_of(subject(mixed, each), budget) for each in jobs}) == len(jobs)
    renamed = job("fm").model_copy(update={"targets": (Target(name="other", model="fm"),)})
    assert fingerprint_of(subject(mixed, renamed), budget) == fingerprint_of(subject(mixed, jobs[0]), budget)


@pytest.mark.parametrize("embeddings", [True, False])
def test_a_search_runs_once_and_its_embedding_sizes_are_not_tuned(
    embeddings: bool, mixed: Dataset, tmp_path: Path
) -> None:
    raw = {
        "targets": [{"name": "aim", "model": "aim", "found": True}],
        "models": {"default": {"embedding_size": 4, "hidden": [8], "epochs": 1}},
        "search": {"method": "aim", "epochs": 1, "embedding_epochs": 1, "search_embeddings": embeddings},
    }
    given = TuningJob.model_validate(raw)
    budget = TuningConfig.parse({"trials": 3, "spaces": {"aim": {"hidden": [[8], [4]]}}}, "tuning")

    def keys() -> set[str]:
        stages.tune(mixed.path, given, budget, tmp_path / "studies", tmp_path / "out")
        (model,) = Tuning.load(tmp_path / "out").models
        assert [trial.state for trial in model.trials] == ["complete"] * 3
        return {key for trial in model.trials[1:] for key in trial.settings}

    assert {"hidden", "learning_rate"} <= keys()
    assert ("embedding_size" in keys()) is not embeddings
    file = tmp_path / "out" / "search" / "architecture.json"
    found, stamp = Architecture.load(file), file.stat().st_mtime_ns
    keys()
    assert file.stat().st_mtime_ns == stamp
    names = found.fields
    kept = KeptPositions(field=names[0], order=2, function="inner", positions=(0, 2))
    fixed = {"interactions": (Interaction(fields=names[:2]),), "embedding_size": 4, "positions": (kept,)}
    found.model_copy(update=fixed).save(file)
    assert "embedding_size" not in keys()


def test_streamed_rows_and_trees_are_named_before_training(mixed: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gbdt: LightGBM needs all rows at once"):
        stages.tune(mixed.path, job("gbdt", rows="stream"), CONFIG, tmp_path, tmp_path / "out")


def test_what_cannot_be_trained_is_named_before_the_first_search(
    mixed: Dataset, mixed_folder: Path, tmp_path: Path
) -> None:
    config = config_of(mixed_folder, tmp_path).model_copy(update={"baselines": ("lr", "poly2")})
    with pytest.raises(ConfigError, match=r"baselines: poly2: .*crosses"):
        ctrloom.tune(config, mixed.path, tmp_path / "out")
    assert not (tmp_path / "out" / "search").exists()


@pytest.fixture(scope="module")
def run(mixed_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with tuning, stage by stage."""
    folder = tmp_path_factory.mktemp("run")
    config = config_of(mixed_folder, folder)
    dataset = ctrloom.encode(config, store=mixed_folder / "store")
    ctrloom.search(config, dataset, folder / "search")
    ctrloom.tune(config, dataset, folder / "tuned", search_folder=folder / "search")
    given = {"tuned": folder / "tuned"}
    ctrloom.retrain(config, dataset, folder / "search", folder / "retrained", **given)
    ctrloom.transfer(config, dataset, folder / "search", folder / "moved", **given)
    ctrloom.baselines(config, dataset, folder / "plain", **given)
    runs = [folder / name / "runs" for name in ("retrained", "moved", "plain")]
    ctrloom.evaluate(config, dataset, folder / "search", runs, folder / "out", **given)
    return folder


def config_of(mixed_folder: Path, folder: Path, kind: Any = RunConfig, **more: Any) -> Any:
    from small import COLUMNS

    files = {split: str(mixed_folder / f"{split}.csv") for split in ("train", "valid", "test")}
    data = {"files": files, "columns": COLUMNS, "max_malformed": 0.5}
    (folder / "run.yaml").write_text(json.dumps({"name": "tuned", "data": data, "tuning": BUDGET, **more}))
    settings = {key: value for key, value in QUICKLY.items() if kind is RunConfig or key.startswith("models")}
    return ctrloom.load_config(folder / "run.yaml", settings, kind=kind)


def test_every_model_of_a_run_gets_the_same_budget(run: Path) -> None:
    tuning = Tuning.load(run / "tuned")
    assert {model.name for model in tuning.models} == {"fm", "autofm", "ipnn-transfer"}
    assert {len(model.trials) for model in tuning.models} == {4}
    results = Results.load(run / "out" / "metrics.json")
    assert results.tuning == tuning.summary()


def test_models_are_trained_with_their_best_settings(run: Path) -> None:
    tuning = Tuning.load(run / "tuned")
    results = Results.load(run / "out" / "metrics.json")
    tuned_as = {"autofm-random": "autofm", "autofm-unpruned": "autofm", "autofm-statistics-auc": "autofm"}
    for model in results.models:
        settings = tuning.settings(tuned_as.get(model.name, model.name))
        for key, value in settings.items():
            assert model.hyperparameters[key] == value, (model.name, key)
    assert any(tuning.settings(model.name) for model in tuning.models)


def test_reports_state_the_budget(run: Path) -> None:
    stated = "Every model was tuned with the same budget: 4 trials, on validation rows."
    assert stated in (run / "out" / "summary.md").read_text()
    page = (run / "out" / "report.html").read_text()
    assert stated in page
    tuning = Tuning.load(run / "tuned").summary()
    assert tuning is not None
    for model in tuning.models:
        assert f"{model.best:.4f}" in page


def test_a_model_that_was_not_tuned_is_named(run: Path, mixed_folder: Path, tmp_path: Path) -> None:
    config = config_of(mixed_folder, tmp_path, baselines=["lr", "fm"]).model_copy(
        update={"baselines": ("lr",)}
    )
    dataset = ctrloom.encode(config, store=mixed_folder / "store")
    with pytest.raises(ConfigError, match=r"lr was not tuned, only fm, autofm, ipnn-transfer"):
        ctrloom.baselines(config, dataset, tmp_path / "plain", tuned=run / "tuned")


def test_without_a_search_it_runs_first_and_the_result_is_the_same(
    run: Path, mixed_folder: Path, tmp_path: Path
) -> None:
    config = config_of(mixed_folder, tmp_path)
    dataset = ctrloom.encode(config, store=mixed_folder / "store")
    shutil.copytree(run / "tuned" / "studies", tmp_path / "tuned" / "studies")
    assert ctrloom.tune(config, dataset, tmp_path / "tuned") == Tuning.load(run / "tuned")
    made = {path.name for path in (tmp_path / "tuned" / "studies").iterdir()}
    assert made == {path.name for path in (run / "tuned" / "studies").iterdir()}


def test_the_command_tunes_one_model(run: Path, mixed_folder: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from ctrloom import cli

    config = config_of(mixed_folder, tmp_path)
    dataset = ctrloom.encode(config, store=mixed_folder / "store")
    arguments = ["tune", str(tmp_path / "run.yaml"), "--dataset", str(dataset.path)]
    quick = [f"--set={key}={json.dumps(value)}" for key, value in QUICKLY.items()]
    output = ["--output", str(tmp_path / "out"), "--set", "tuning.trials=2"]
    done = CliRunner().invoke(cli.app, [*arguments, *quick, *output, "--model", "fm"])
    assert done.exit_code == 0, done.output
    assert "same budget: 2 trials" in done.output
    assert [model.name for model in Tuning.load(tmp_path / "out").models] == ["fm"]
    over = ["--model", "ipnn", "--search", str(run / "search")]
    done = CliRunner().invoke(cli.app, [*arguments, *quick, *output, *over])
    assert done.exit_code == 0, done.output
    assert [model.name for model in Tuning.load(tmp_path / "out").models] == ["ipnn-transfer"]


def test_a_comparison_tunes_each_entry_before_its_seeds(
    mixed_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm = fork_server()
    monkeypatch.setattr(compare, "get_context", lambda _: warm)
    entries = [
        {"name": "plain", "model": "fm"},
        {
            "name": "found",
            "search": {"epochs": 1, **KEEPING},
            "controls": ["random"],
            "transfer": ["ipnn"],
        },
    ]
    more = {"entries": entries, "seeds": [2, 3], "evaluation": {"base": "plain", "bootstrap": 20}}
    config = config_of(mixed_folder, tmp_path, CompareConfig, **more)
    with pytest.raises(ConfigError, match="name the entry as the model"):
        ctrloom.tune(config, "manifest.json", tmp_path / "tuned", search_folder=tmp_path)
    results = ctrloom.compare(config, tmp_path / "out")
    assert results.tuning is not None
    assert [model.name for model in results.tuning.models] == ["plain", "found", "found-ipnn"]
    best = {model.name: model.settings for model in results.tuning.models}
    for model in results.models:
        assert {each.seed for each in model.seeds} == {2, 3}
        for key, value in best[{"found-random": "found"}.get(model.name, model.name)].items():
            assert model.hyperparameters[key] == value
    assert "same budget: 4 trials" in (tmp_path / "out" / "comparison" / "comparison.html").read_text()
    studies = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "studies").glob("*.json")}
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "jobs").rglob("job.json")}
    assert (len(studies), len(stamps)) == (3, 4)
    again = ctrloom.compare(config, tmp_path / "out")
    assert again.tuning == results.tuning
    assert {path: path.stat().st_mtime_ns for path in studies} == studies, (
        "finished studies are not run again"
    )
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_results_without_tuning_still_load(run: Path) -> None:
    old = storage.read_json(run / "out" / "metrics.json")
    del old["tuning"], old["checksum"]
    assert Results.parse(old, "metrics.json").tuning is None
    assert Hyperparameters().learning_rate == 3e-3
