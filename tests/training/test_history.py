"""Whether a training was long enough, as recorded and as derived for stored histories."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from small import LITTLE, edit_json, made_older

from ctrloom import stages
from ctrloom.config import GBDTSettings, Hyperparameters, ModelsConfig
from ctrloom.data.dataset import Dataset
from ctrloom.models.bundle import load_card
from ctrloom.training.history import Epoch, limit_of
from ctrloom.training.runs import open_runs

RISING = [0.70, 0.72, 0.73, 0.74, 0.745]
FLAT = [0.70, 0.74, 0.7401, 0.7401, 0.74005]


def epochs(scores: list[float]) -> list[Epoch]:
    return [
        Epoch(epoch=i, train_logloss=0.5, valid_auc=auc, valid_logloss=1 - auc)
        for i, auc in enumerate(scores, 1)
    ]


def settings(**more: Any) -> Hyperparameters:
    return LITTLE.model_copy(update={"epochs": 5, "patience": 2, **more})


@pytest.mark.parametrize(
    ("scores", "more", "limit"),
    [
        (RISING, {}, "epochs"),
        (RISING, {"monitor": "logloss"}, "epochs"),
        (RISING, {"epochs": 6}, None),  # stopped for another reason
        ([0.70, 0.72, 0.73, 0.74, 0.739], {}, "epochs"),  # the best but one, and patience was not over
        ([0.70, 0.72, 0.73, 0.72, 0.72], {}, None),  # patience ran out in the last epoch
        ([0.70, 0.73, 0.72, 0.72], {}, None),
        ([0.70, 0.74, 0.74, 0.74001, 0.74002], {"patience": 3}, None),  # gains of no importance
        (FLAT, {"patience": 3}, None),
        (FLAT, {"patience": 3, "decays": 1}, "epochs"),  # was still to decay
        ([0.70, 0.69, 0.68, 0.70, 0.71], {"decays": 1}, "epochs"),  # improved after the decay
        ([0.70, 0.69, 0.68, 0.67, 0.66], {"decays": 1}, None),  # patience ran out twice
        ([0.70], {"epochs": 1}, "epochs"),  # one epoch shows nothing
        ([0.70, 0.69], {"epochs": 2}, None),
        ([0.70, 0.71], {"epochs": 2}, "epochs"),
    ],
)
def test_training_is_too_short_if_epochs_end_it_while_it_improves(scores, more, limit):
    assert limit_of(epochs(scores), settings(**more)) == limit


def test_trees_are_too_few_if_they_end_boosting_while_it_improves():
    boosting = GBDTSettings(trees=45, patience=2, decays=1)
    assert limit_of(epochs(RISING), boosting, trees=True) == "trees"
    assert limit_of(epochs(RISING), boosting.model_copy(update={"trees": 60}), trees=True) is None
    assert limit_of(epochs([0.7, 0.72, 0.73, 0.73, 0.73]), boosting, trees=True) is None


@pytest.fixture(scope="module")
def trained(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LR and trees that end too early."""
    models = {"lr": {"epochs": 1}, "gbdt": {"trees": 5}, "gbdtlr": {"trees": 5, "epochs": 30}}
    folder = tmp_path_factory.mktemp("short")
    stages.baselines(mixed.base / "manifest.json", list(models), ModelsConfig(models), [0], folder / "runs")
    return folder


def test_the_limit_is_recorded_and_in_the_bundle(mixed: Dataset, trained: Path) -> None:
    limits = {run.record.name: run.record.limited_by for run in open_runs(trained / "runs")}
    expected = {"lr": "models.lr.epochs", "gbdt": "models.gbdt.trees", "gbdtlr": "models.gbdtlr.trees"}
    assert limits == expected
    for run in open_runs(trained / "runs"):
        run.export(mixed, trained / run.record.name)
        assert load_card(trained / run.record.name).limited_by == expected[run.record.name]


def test_histories_without_the_limit_derive_it(trained: Path, tmp_path: Path) -> None:
    for name, expected in (("lr", "models.lr.epochs"), ("gbdt", "models.gbdt.trees")):
        older = made_older(Path(shutil.copytree(trained / "runs", tmp_path / name)))
        edit_json(older / name / "run.json", lambda record: record["seeds"][0]["history"].pop("limited_by"))
        (run,) = (run for run in open_runs(older) if run.record.name == name)
        assert run.record.limited_by == expected


def test_bundles_without_the_limit_load(mixed: Dataset, trained: Path, tmp_path: Path) -> None:
    open_runs(trained / "runs")[0].export(mixed, tmp_path / "bundle")
    made_older(tmp_path / "bundle")
    edit_json(tmp_path / "bundle" / "model.json", lambda card: card.pop("limited_by"))
    assert load_card(tmp_path / "bundle").limited_by is None


def test_early_stopping_ends_training_within_the_defaults(mixed: Dataset, tmp_path: Path) -> None:
    models = ModelsConfig({"default": {"learning_rate": 0.01, "batch_size": 200, "hidden": (8,)}})
    stages.baselines(mixed.base / "manifest.json", ["fm", "gbdt"], models, [0], tmp_path / "runs")
    for run in open_runs(tmp_path / "runs"):
        assert run.record.limited_by is None
        assert run.record.best.history.limited_by is None
