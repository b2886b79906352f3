"""The weights of a search, scored without retraining: in a comparison and in a run."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from ctrloom import stages
from ctrloom.config import CompareConfig, EvaluationConfig, OptInterConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.dataset import Dataset
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.evaluation.results import Results
from ctrloom.methods import optinter
from ctrloom.runners.compare import run_comparison
from ctrloom.stages.search_stage import search_data, weights_of
from ctrloom.storage import StorageError
from ctrloom.training.loop import score
from ctrloom.training.runs import open_by_name, seeds_of

SMALL = {"epochs": 2, "hidden": [8], "embedding_size": 4, "cross_embedding_size": 3, "batch_size": 256}
SEARCH = {"method": "optinter", "epochs": 2, "confirm": False, "keep_weights": True, "random_draws": 1}
NAME = "optinter-without-retraining"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> CompareConfig:
    folder = tmp_path_factory.mktemp("clicks")
    synthesize(SynthConfig(rows=4000, fields=4, sizes=(9,), pairs=2, strength=2.0), folder)
    return CompareConfig.parse(
        {
            "name": "little",
            "data": {
                "files": str(folder / "clicks.csv"),
                "columns": {"click": "label", "field_00..field_03": "categorical"},
            },
            "vocabulary": {"crosses": {"pairs": "all", "min_count": 1}},
            "models": {"default": {"epochs": 1, "batch_size": 256}, "optinter": SMALL},
            "seeds": [3, 5],
            "evaluation": {"base": "lr", "bootstrap": 50},
            "entries": [
                {"name": "lr", "model": "lr"},
                {"name": "optinter", "search": SEARCH, "controls": ["without-retraining", "all-memorize"]},
            ],
        },
        "test",
    )


@pytest.fixture(scope="module")
def done(config: CompareConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("comparison") / "out"
    run_comparison(config, output, workers=1)
    return output


def dataset_of(done: Path) -> Dataset:
    encoded = [p for p in (done / "data").rglob("manifest.json") if "schema_fingerprint" in p.read_text()]
    return Dataset.open(encoded[0])


def trained_again(dataset: Dataset, config: CompareConfig, seed: int) -> np.ndarray:
    """Test probabilities of the model with the weights of a search, without files in between."""
    settings: Any = config.models.of("optinter")
    searching = OptInterConfig.parse({**SEARCH, "seed": seed}, "search")
    found = optinter.search(search_data(dataset, settings), searching, settings)
    assert found.trained is not None
    return 1 / (1 + np.exp(-score(found.trained, dataset.rows("test")).astype(float)))


def test_each_seed_has_the_weights_of_its_own_search(done: Path, config: CompareConfig) -> None:
    dataset = dataset_of(done)
    predictions = pq.read_table(done / "comparison" / "predictions.parquet")
    for seed in (3, 5):
        found = predictions[f"{NAME}_seed_{seed}"].to_numpy()
        np.testing.assert_allclose(found, trained_again(dataset, config, seed), rtol=0, atol=1e-6)
    results = Results.load(done / "comparison" / "metrics.json")
    model = results.model(NAME)
    assert (model.title, model.kind) == ("OptInter, without retraining", "control")
    assert not model.deterministic
    assert (model.train_seconds, len(model.seeds)) == (0.0, 2)
    assert model.search_seconds == results.model("optinter").search_seconds > 0
    assert results.model("optinter-all-memorize").search_seconds == 0
    assert {v.model for v in results.comparisons} == {"optinter", NAME, "optinter-all-memorize"}


def test_it_is_one_model_of_all_seeds_of_a_run(done: Path, config: CompareConfig, tmp_path: Path) -> None:
    """Seeds are trained in steps of their own, as on a cluster; other settings are tuned for retraining."""
    dataset, evaluation = dataset_of(done), EvaluationConfig(base="lr", bootstrap=50)
    search = OptInterConfig.parse({**SEARCH, "seed": 3}, "search")
    stages.search(dataset.path, search, config.models, tmp_path / "search")
    other = config.models.override("optinter", {"embedding_size": 6, "hidden": [5]})
    folders = [tmp_path / name for name in ("seed-0", "seed-1", "lr")]
    for seed, folder in enumerate(folders[:2]):
        stages.retrain(dataset.path, tmp_path / "search", other, [seed], folder)
    stages.baselines(dataset.path, ["lr"], config.models, [0, 1], folders[2])
    runs = open_by_name(folders)
    assert len(runs[NAME]) == 1
    assert set(seeds_of(runs)) == set(runs) - {NAME}
    stages.evaluate(
        dataset.path, tmp_path / "search", folders, [0, 1], evaluation, "run", {}, tmp_path / "results"
    )
    predictions = pq.read_table(tmp_path / "results" / "predictions.parquet")
    expected = trained_again(dataset, config, 3)
    np.testing.assert_allclose(predictions[NAME].to_numpy(), expected, rtol=0, atol=1e-6)
    (name, *_) = runs[NAME][0].record.seeds
    assert name.history.best_epoch.train_logloss < 0.75
    assert runs[NAME][0].record.limited_by is None


def test_weights_that_were_damaged_are_not_scored(done: Path, config: CompareConfig, tmp_path: Path) -> None:
    dataset, search = dataset_of(done), OptInterConfig.parse(SEARCH, "search")
    stages.search(dataset.path, search, config.models, tmp_path / "search")
    weights = weights_of(tmp_path / "search", "without-retraining")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(StorageError, match="was changed or damaged after it was written"):
        stages.retrain(dataset.path, tmp_path / "search", config.models, [0], tmp_path / "runs")


@pytest.mark.parametrize("choice", ["memorize", "hadamard"])
def test_a_run_without_a_search_has_a_report(
    done: Path, config: CompareConfig, tmp_path: Path, choice: str
) -> None:
    dataset, evaluation = dataset_of(done), EvaluationConfig(base="optinter", bootstrap=20)
    search = OptInterConfig.parse({"method": "optinter", "choice": choice}, "search")
    stages.search(dataset.path, search, config.models, tmp_path / "search")
    stages.retrain(dataset.path, tmp_path / "search", config.models, [0], tmp_path / "runs")
    found = stages.evaluate(
        dataset.path,
        tmp_path / "search",
        [tmp_path / "runs"],
        [0],
        evaluation,
        "run",
        {},
        tmp_path / "results",
    )
    assert [model.name for model in found.models] == ["optinter"]
    page = (tmp_path / "results" / "report.html").read_text()
    made = {"memorize": "memorized", "hadamard": "factorized"}[choice]
    assert f"{len(dataset.schema.crosses)} {made}" in page


def test_a_search_that_keeps_no_weights_has_no_such_control(config: CompareConfig) -> None:
    raw = config.model_dump(mode="json")
    raw["entries"][1]["search"]["keep_weights"] = False
    with pytest.raises(ConfigError, match=r"'without-retraining' .*; set search\.keep_weights: true"):
        CompareConfig.parse(raw, "test")


def test_nothing_is_kept_of_a_search_that_found_nothing(
    done: Path, config: CompareConfig, tmp_path: Path
) -> None:
    dataset = dataset_of(done)
    search = OptInterConfig.parse({**SEARCH, "confirm": True, "false_discovery": 1e-300}, "search")
    found = stages.search(dataset.path, search, config.models, tmp_path)
    assert found.is_empty
    assert not weights_of(tmp_path, "without-retraining").exists()
