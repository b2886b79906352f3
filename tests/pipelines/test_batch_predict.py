"""Batch prediction through KFP's local runner, as a user runs it, and its stages."""

import json
import subprocess
from pathlib import Path
from shutil import rmtree

import pandas as pd
import pytest
import yaml

from ctrloom import stages, storage
from ctrloom.config import DataConfig, ModelsConfig, VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.batch import BatchConfig
from ctrloom.config.files import load_batch_config, load_retraining_config
from ctrloom.data.dataset import Dataset
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.serving.predict import predict
from ctrloom.serving.registry import Registry, RegistryError
from ctrloom.stages.batch_scores import files_of, read_scores
from ctrloom.storage import StorageError
from ctrloom.training.runs import open_runs

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
CONFIG = {
    "name": "nightly",
    "registry": "registry",
    "files": "raw/{date}/part-*.csv",
    "keep": ["time", "request"],
    "until": "2026-01-02",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three days of clicks in two files each, with request ids; the champion is of the first day."""
    folder = tmp_path_factory.mktemp("batch")
    synthesize(SynthConfig(rows=3_000, fields=3, sizes=(10,), pairs=1, days=3, renewed=0.3), folder)
    for day in DAYS:
        (folder / "raw" / day).mkdir(parents=True)
        clicks = pd.read_csv(folder / f"clicks-{day}.csv")
        clicks["request"] = [f"{day}/{i}" for i in range(len(clicks))]
        for part, rows in enumerate((clicks[:400], clicks[400:])):
            rows.to_csv(folder / "raw" / day / f"part-{part}.csv", index=False)
    columns = {"click": "label", "field_00..field_02": "categorical", "time": "timestamp"}
    data = DataConfig.parse(
        {"files": str(folder / f"clicks-{DAYS[0]}.csv"), "columns": columns, "split": {"by": "time"}}, "test"
    )
    dataset = stages.vocabulary(stages.ingest(data, folder / "store"), VocabularyConfig(), folder / "store")
    model = {"embedding_size": 4, "hidden": [8], "epochs": 2, "batch_size": 300}
    stages.baselines(dataset, ["fm"], ModelsConfig({"default": model}), [0], folder / "runs")
    open_runs(folder / "runs")[0].export(Dataset.open(dataset), folder / "bundle")
    stages.promote(str(folder / "registry"), folder / "bundle")
    (folder / "nightly.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


@pytest.fixture
def ctrloom(python, folder):
    def run(*arguments):
        command = [python, "-m", "ctrloom", *map(str, arguments)]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)

    return run


def written(found):
    return {
        Path(file.output).relative_to(found.output).as_posix(): file.skipped for file in found.predicted.files
    }


def test_a_pipeline_scores_a_window_as_the_command_does(folder, ctrloom, tmp_path):
    done = ctrloom("batch-predict", "nightly.yaml", "--output", "night")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "3,000 rows of 2 files, 0 of them malformed",
        f"Predictions: {folder}/night/scores/",
    ]
    found = read_scores(folder / "night")
    assert written(found) == {f"{DAYS[1]}/part-{part}.parquet": False for part in (0, 1)}
    assert found.bundle == Registry(str(folder / "registry")).champion()[0]
    for part in (0, 1):
        raw, name = folder / "raw" / DAYS[1] / f"part-{part}.csv", f"{DAYS[1]}/part-{part}.parquet"
        predict(folder / "bundle", [str(raw)], tmp_path / "p.parquet", ["time", "request"])
        got = pd.read_parquet(folder / "night" / "scores" / name)
        pd.testing.assert_frame_equal(got, pd.read_parquet(tmp_path / "p.parquet"), check_exact=True)
        assert got["request"].to_list() == pd.read_csv(raw)["request"].to_list()
    metrics = json.loads(next((folder / "night" / "steps").rglob("batch-predict/metrics")).read_text())
    assert (metrics["rows"], metrics["malformed"], metrics["files"]) == (3000, 0, 2)
    users = pd.concat([pd.read_csv(path) for path in (folder / "raw" / DAYS[1]).glob("*.csv")])
    known = pd.read_csv(folder / f"clicks-{DAYS[0]}.csv")
    unseen = max((~users[name].isin(known[name])).mean() for name in ("field_00", "field_01", "field_02"))
    assert metrics["largest_unseen_share"] >= unseen > 0  # rare values of the training rows count, too
    assert "| field_00 |" in (folder / "night" / "summary.md").read_text()
    again = ctrloom(
        "batch-predict", "nightly.yaml", "--output", "night", "--until", DAYS[2], "--set", "days=2"
    )
    assert again.returncode == 0, again.stderr
    assert written(read_scores(folder / "night")) == {
        f"{day}/part-{part}.parquet": day == DAYS[1] for day in DAYS[1:] for part in (0, 1)
    }


def test_user_errors_are_reported_before_a_step_runs(folder, ctrloom):
    for settings, told in (
        (["--until", "monday"], "'monday' is not a date"),
        (["--set", "until=null"], "is of a day; set `until`"),
        (["--set", "files=raw/*.csv"], "files: no file name contains {date}"),
        (["--set", "registry=null"], "bundle, registry: set one"),
        (["--set", "bundle=bundle"], "registry: there is a bundle already"),
        (["--set", "keeps=[a]"], "did you mean 'keep'"),
    ):
        done = ctrloom("batch-predict", "nightly.yaml", "--output", "x", *settings)
        assert done.returncode == 2, told
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_an_error_of_the_step_names_the_column(folder, ctrloom):
    done = ctrloom("batch-predict", "nightly.yaml", "--output", "failed", "--set", "keep=[requests]")
    assert done.returncode == 2
    assert "step batch-predict: " in done.stderr
    assert "has no column 'requests' to keep; similar names are 'request'" in done.stderr


def test_a_bundle_is_fetched_from_a_place_or_a_registry(folder, tmp_path):
    registry = str(folder / "registry")
    version = stages.fetch_bundle("", registry, tmp_path / "champion")
    assert version == Registry(registry).champion()[0]
    assert stages.fetch_bundle(str(folder / "bundle"), "", tmp_path / "copy") == version
    assert storage.described(tmp_path / "copy") == storage.described(tmp_path / "champion")
    for given in (("", ""), ("a", "b")):
        with pytest.raises(ConfigError, match="give one of them"):
            stages.fetch_bundle(*given, tmp_path / "none")
    with pytest.raises(RegistryError, match="has no champion yet"):
        stages.fetch_bundle("", str(tmp_path / "empty"), tmp_path / "none")
    with pytest.raises(StorageError, match="no such folder"):
        stages.fetch_bundle(str(tmp_path / "nothing"), "", tmp_path / "none")
    with pytest.raises(StorageError, match=r"model\.json"):
        stages.fetch_bundle(str(folder / "raw"), "", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_predictions_go_to_the_store_unless_told_otherwise(folder, tmp_path):
    config = BatchConfig.parse({**CONFIG, "files": f"{folder}/raw/{DAYS[0]}/*.csv", "until": None}, "test")
    found = stages.batch_predict(folder / "bundle", config, f"file://{tmp_path}/store", tmp_path / "scores")
    assert found.output == f"{tmp_path}/store/scores/nightly/"
    assert (tmp_path / "store" / "scores" / "nightly" / "part-1.parquet").is_file()
    assert read_scores(tmp_path / "scores") == found
    rmtree(tmp_path / "scores")
    elsewhere = config.model_copy(update={"output": f"{tmp_path}/elsewhere"})
    again = stages.batch_predict(
        folder / "bundle", elsewhere, f"file://{tmp_path}/store", tmp_path / "scores"
    )
    assert again.output == f"{tmp_path}/elsewhere/"


@pytest.mark.parametrize(
    ("pattern", "days", "expected"),
    [
        ("gs://b/{date}/x.csv", 2, ["gs://b/./2026-01-01/x.csv", "gs://b/./2026-01-02/x.csv"]),
        ("/raw/clicks-{date}.csv", 1, ["/raw/./clicks-2026-01-02.csv"]),
        ("s3://b/y={date:%Y}/m={date:%m}/*", 1, ["s3://b/./y=2026/m=01/*"]),
        ("s3://b/y={date:%Y}/m={date:%m}/*", 2, ["s3://b/./y=2026/m=01/*"]),
    ],
)
def test_files_of_a_window_are_marked_where_the_date_begins(pattern, days, expected):
    config = BatchConfig.parse({"name": "n", "files": pattern, "until": "2026-01-02", "days": days}, "test")
    assert list(files_of(config)) == expected


def test_the_example_scores_what_the_example_of_retraining_makes():
    configs = Path(__file__).parents[2] / "configs"
    example = load_batch_config(configs / "batch" / "daily.yaml")
    retraining = load_retraining_config(configs / "retraining" / "daily.yaml")
    assert example.files == retraining.data.files.train
    assert example.registry == retraining.registry
    assert "configs/batch/daily.yaml" in (configs / "batch" / "daily.yaml").read_text()
