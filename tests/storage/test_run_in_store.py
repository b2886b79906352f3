"""The commands, stage by stage, with all data in an object store."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from ctrloom import storage
from ctrloom.cli import app
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.evaluation.results import Results
from ctrloom.runners.local import publish
from ctrloom.serving.registry import Registry

RUN = {
    "name": "small",
    "data": {
        "files": "clicks.csv",
        "columns": {"click": "label", "field_00..field_03": "categorical"},
        "split": {"by": "random", "valid": 0.2, "test": 0.2},
    },
    "search": {"batch_size": 200, "random_draws": 1},
    "models": {"default": {"hidden": [4], "epochs": 1, "batch_size": 500, "learning_rate": 0.01}},
    "baselines": ["fm"],
    "seeds": [0],
    "evaluation": {"base": "fm", "bootstrap": 20},
}


def ctrloom(*arguments: object) -> str:
    """The last line that a command prints."""
    done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout.strip().splitlines()[-1]


def test_results_go_where_the_data_sets_are(store: str, tmp_path: Path) -> None:
    (tmp_path / "out" / "bundle" / "deep").mkdir(parents=True)
    names = ("report.html", "bundle/model.json", "bundle/deep/a b.parquet")
    for name in names:
        (tmp_path / "out" / name).write_text(name)
    publish(tmp_path / "out", ["report.html", "bundle"], storage.place(store) / "runs" / "out")
    storage.download(storage.place(store) / "runs" / "out", tmp_path / "back")
    assert {name: (tmp_path / "back" / name).read_text() for name in names} == {n: n for n in names}


def run(store: str, folder: Path) -> str:
    clean = ctrloom("ingest", "small.yaml", "--store", store)
    dataset = ctrloom("vocabulary", "small.yaml", "--ingested", clean, "--store", store)
    ctrloom("search", "small.yaml", "--dataset", dataset, "--output", folder / "search")
    given = ("small.yaml", "--dataset", dataset, "--search", folder / "search")
    ctrloom("retrain", *given, "--output", folder / "retrain")
    ctrloom("baselines", "small.yaml", "--dataset", dataset, "--output", folder / "baselines")
    runs = ("--runs", folder / "retrain" / "runs", "--runs", folder / "baselines" / "runs")
    ctrloom("evaluate", *given, *runs, "--output", folder / "evaluation")
    return dataset


@pytest.mark.slow
def test_a_run_with_data_in_a_bucket(gs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    synthesize(SynthConfig(rows=3000, fields=4, sizes=(8,), pairs=1, seed=3), tmp_path)
    Path("small.yaml").write_text(yaml.safe_dump(RUN))
    before = {path.name for path in tmp_path.iterdir()}
    dataset = run(gs, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == before | {"out"}
    assert dataset.startswith(gs)
    assert not list(tmp_path.rglob("part-*"))
    here = run(str(tmp_path / "store"), tmp_path / "local")
    there, local = storage.read_json(dataset), json.loads(Path(here).read_text())
    assert (there["data_fingerprint"], there["files"]) == (local["data_fingerprint"], local["files"])
    one, other = (Results.load(tmp_path / out / "evaluation" / "metrics.json") for out in ("out", "local"))
    for a, b in zip(one.models, other.models, strict=True):
        assert (a.name, [s.test.auc for s in a.seeds]) == (b.name, [s.test.auc for s in b.seeds])
    bundle = tmp_path / "out" / "retrain" / "bundle"
    assert (bundle / "vocabulary").is_dir()
    registry = f"{gs}/models"
    version = Registry(registry).add(bundle, {"auc": one.models[0].seeds[0].test.auc}, {"dataset": dataset})
    assert ctrloom("registry", "promote", registry, version) == f"{version} is the champion (previous: none)"
    fetched = Registry(registry).fetch(version, tmp_path / "champion")
    scored = tmp_path / "scores.parquet"
    assert "3,000 rows" in ctrloom(
        "predict", "--bundle", fetched, "--input", tmp_path / "clicks.csv", "--output", scored
    )
    again, cache = tmp_path / "again.parquet", tmp_path / "cache"
    in_place = ("--bundle", f"{registry}/versions/{version}/bundle", "--cache", cache)
    ctrloom("predict", *in_place, "--input", tmp_path / "clicks.csv", "--output", again)
    assert pq.read_table(again).equals(pq.read_table(scored))
    assert [path.name.startswith("bundle-") for path in cache.iterdir()] == [True]
