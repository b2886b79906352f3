"""What is read of comparisons, tunings and retrainings, compared with the raw records."""

import json
from pathlib import Path
from typing import Any

import pytest
from finished_run import MODEL, RUN, Finished
from small import COLUMNS

import ctrloom
from ctrloom import stages
from ctrloom.config import CompareConfig, DataConfig, RunConfig
from ctrloom.config.promotion_gate import PromotionGateConfig
from ctrloom.config.retraining import DriftConfig, TrainingConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.tracking import Places, records
from ctrloom.tracking.nodes import Node


@pytest.fixture(autouse=True)
def tracked_with(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str, Places]]:
    """What is tracked, instead of tracking it."""
    calls: list[tuple[Any, str, Places]] = []
    monkeypatch.setattr("ctrloom.tracking.track", lambda *given, **_: calls.append(given) or True)
    return calls


def by_path(node: Node) -> dict[str, Node]:
    return dict(node.below())


def test_comparison(mixed_folder: Path, tmp_path: Path, tracked_with: list[tuple[Any, str, Places]]) -> None:
    files = {split: str(mixed_folder / f"{split}.csv") for split in ("train", "valid", "test")}
    raw = {
        "name": "compared",
        "data": {"files": files, "columns": COLUMNS},
        "models": {"default": MODEL},
        "seeds": [0, 1],
        "evaluation": {"base": "fm", "bootstrap": 50, "permutations": 0},
        "entries": [{"name": "lr", "model": "lr"}, {"name": "fm", "model": "fm"}],
        "tracking": {"tensorboard": str(tmp_path / "tb")},
    }
    results = ctrloom.compare(CompareConfig.parse(raw, "test"), tmp_path / "out", 1)
    ((config, name, places),) = tracked_with
    assert (config.tensorboard, name) == (str(tmp_path / "tb"), "compared")
    assert places == Places.of(tmp_path / "out")
    found = records.read(name, places)
    assert (found.kind, found.node.name) == ("compare", "compared")
    assert found.node.tags["shown_model"] == results.best.name
    assert found.node.metrics["test_auc"] == results.best.summary["test"]["auc"].mean
    assert by_path(found.node).keys() == {
        "lr", "lr/seed-0", "lr/seed-1", "fm", "fm/seed-0", "fm/seed-1",
    }  # fmt: skip
    assert found.bundle == tmp_path / "out" / "bundles" / "best"
    names = {path.name for path in found.files}
    assert names == {"metrics.json", "comparison.html", "architecture.json"}
    metrics = json.loads((tmp_path / "out" / "comparison" / "metrics.json").read_text())
    versus = next(each for each in metrics["comparisons"] if each["model"] == "lr")
    assert by_path(found.node)["lr"].metrics["test_auc_vs_base"] == versus["auc"]["delta"]
    other = {**raw, "tracking": {"mlflow": {"uri": "http://h"}}}
    CompareConfig.parse(other, "test")
    metrics["config"]["tracking"] = other["tracking"]
    again = records._results(type(results).model_validate(_content(metrics)), places)
    assert again.identity == found.identity  # where a run is shown is not what it is


def _content(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "sha256" and key != "checksum"}


def test_tuning(mixed: Dataset, tmp_path: Path, tracked_with: list[tuple[Any, str, Places]]) -> None:
    tuning = {"trials": 3, "sampler": "random", "pruner": "none"}
    tuning["spaces"] = {"fm": {"embedding_size": [2, 4, 8]}}
    raw = {**RUN, "tuning": tuning, "tracking": {"mlflow": {"uri": "http://h"}}}
    ctrloom.tune(RunConfig.parse(raw, "test"), mixed, tmp_path / "out", "fm")
    ((_, name, places),) = tracked_with
    found = records.read(name, places)
    assert (found.kind, found.node.name) == ("tune", "small")
    assert found.node.tags["data_fingerprint"] == mixed.data_fingerprint
    assert found.node.parameters["tuning.trials"] == 3
    (model,) = json.loads((tmp_path / "out" / "tuning.json").read_text())["models"]
    nodes = by_path(found.node)
    assert nodes.keys() == {"fm", *(f"fm/trial-{n}" for n in range(3))}
    for trial in model["trials"]:
        node = nodes[f"fm/trial-{trial['number']}"]
        assert dict(node.parameters) == trial["settings"]
        assert node.metrics["valid_logloss"] == trial["scores"][-1]
        assert node.curves["epoch/best_valid_logloss"] == tuple(trial["scores"])
    best = min(trial["scores"][-1] for trial in model["trials"])
    assert nodes["fm"].metrics["best_logloss"] == found.node.metrics["best_logloss/fm"] == best
    assert records.read(name, places).identity == found.identity
    assert records.read("other", places).identity != found.identity


def test_retraining(finished: Finished, mixed: Dataset, mixed_folder: Path, tmp_path: Path) -> None:
    files = {split: [str(mixed_folder / f"{split}.csv")] for split in ("train", "valid", "test")}
    data = DataConfig.parse({"files": files, "columns": COLUMNS}, "test")
    clean = ingest(data, mixed_folder / "store")
    out, bundle = tmp_path / "out", finished.folder / "bundle"
    stages.promote(str(tmp_path / "registry"), bundle)
    stages.champion(str(tmp_path / "registry"), tmp_path / "champion")
    runs = out / "steps" / "1" / "refresh" / "runs"
    stages.refresh(mixed.path, bundle, TrainingConfig(seeds=(0, 5)), runs, out / "bundle")
    stages.drift(mixed.path, bundle, DriftConfig(), tmp_path / "drift")
    gate = PromotionGateConfig(bootstrap=50)
    stages.gate(clean, out / "bundle", tmp_path / "champion", gate, tmp_path / "gate")
    stages.report(tmp_path / "drift", tmp_path / "gate", "daily", tmp_path / "report")
    for made in ("drift/drift.json", "gate/verdict.json", "report/report.html"):
        (out / Path(made).name).write_bytes((tmp_path / made).read_bytes())
    found = records.read("daily", Places.of(out))
    verdict = json.loads((out / "verdict.json").read_text())
    assert (found.kind, found.node.name) == ("retrain", "daily")
    assert found.node.tags["promote"] == str(verdict["promote"]).lower()
    assert found.node.tags["champion"] == verdict["champion"]["version"]
    metrics = found.node.metrics
    assert metrics["test_auc"] == verdict["challenger"]["metrics"]["auc"]
    assert metrics["champion_test_auc"] == verdict["champion"]["metrics"]["auc"]
    assert metrics["test_auc_vs_champion"] == verdict["auc"]["delta"]
    drift = json.loads((out / "drift.json").read_text())
    for field in drift["fields"]:
        assert metrics[f"drift/stability/{field['name']}"] == field["stability"]
    (record,) = (json.loads(path.read_text()) for path in runs.glob("*/run.json"))
    for seed in record["seeds"]:
        node = by_path(found.node)[f"seed-{seed['seed']}"]
        expected = tuple(each["valid_auc"] for each in seed["history"]["epochs"])
        assert node.curves["epoch/valid_auc"] == expected
    assert found.bundle == out / "bundle"
    assert {path.name for path in found.files} >= {"verdict.json", "drift.json", "report.html"}
    assert records.read("daily", Places.of(out)).identity == found.identity


def test_a_folder_without_records_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(records.NothingToTrackError, match=r"there is no metrics\.json"):
        records.read("x", Places.of(tmp_path))
