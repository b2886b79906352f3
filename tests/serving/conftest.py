from pathlib import Path

import pytest
from small import LITTLE

from ctrloom.architecture import Architecture
from ctrloom.config import ModelsConfig
from ctrloom.data.dataset import Dataset
from ctrloom.training.plans import Plan, train_runs
from ctrloom.training.runs import open_runs


@pytest.fixture(scope="session")
def fm_bundle(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a factorization machine over the columns of `mixed`."""
    folder = tmp_path_factory.mktemp("fm")
    plan = Plan("fm", "FM", "baseline", "fm", (Architecture.complete(mixed.schema.names, (2,)),))
    models = ModelsConfig({"default": {**LITTLE.model_dump(), "embedding_std": 0.3}})
    train_runs(mixed, [plan], models, [0], folder / "runs")
    open_runs(folder / "runs")[0].export(mixed, folder / "bundle")
    return folder / "bundle"
