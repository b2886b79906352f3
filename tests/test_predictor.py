"""Rows in memory get the probabilities that the command writes for the same rows in files."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from small import LITTLE

import ctrloom
from ctrloom.architecture import Architecture
from ctrloom.config import ModelsConfig
from ctrloom.data.dataset import Dataset
from ctrloom.serving.predict import predict
from ctrloom.training.runs import Plan, open_runs, train_runs


@pytest.fixture(scope="module")
def bundle(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    every = Architecture.complete(mixed.schema.names, (2, 3))
    hyper = ModelsConfig({"default": {**LITTLE.model_dump(), "batch_norm": True, "embedding_std": 0.3}})
    plan = Plan("autodeepfm", "AutoDeepFM", "retrained", "autodeepfm", (every,))
    train_runs(mixed, [plan], hyper, [4], folder / "runs")
    open_runs(folder / "runs")[0].export(mixed, folder / "bundle")
    return folder / "bundle"


def command(bundle: Path, file: Path, output: Path) -> np.ndarray:
    predict(bundle, [str(file)], output)
    return pq.read_table(output)["probability"].to_numpy()


def test_mappings_of_text_score_as_the_lines_of_a_file(
    bundle: Path, mixed_folder: Path, tmp_path: Path
) -> None:
    file = mixed_folder / "test.csv"
    expected = command(bundle, file, tmp_path / "p.parquet")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    predictor = ctrloom.load_bundle(bundle)
    assert np.array_equal(predictor.predict(rows), expected)
    assert np.array_equal(predictor.predict_files([str(file)]), expected)
