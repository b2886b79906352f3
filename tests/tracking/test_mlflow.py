"""What MLflow shows of a run, read through its REST API and compared with the raw records."""

import json
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from finished_run import Finished, place
from mlflow_server import Server
from small import edit_json

pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")

from ctrloom.config.tracking import MlflowConfig, TrackingConfig
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.results import Results
from ctrloom.serving.predict import predict
from ctrloom.tracking import Places, track
from ctrloom.tracking.nodes import Node, Tracked

pytestmark = pytest.mark.filterwarnings("default")  # MLflow warns of its own type hints

LIMIT = 300  # seconds, on a busy machine


def config(server: Server, experiment: str, **settings: Any) -> TrackingConfig:
    return TrackingConfig.parse(
        {"mlflow": {"uri": server.url, "experiment": experiment, **settings}, "seconds": LIMIT}, "test"
    )


def write(server: Server, experiment: str, folder: Path, **settings: Any) -> None:
    """Track a run in this process, which has loaded the libraries already."""
    from ctrloom.tracking import mlflow_runs, records

    chosen = config(server, experiment, **settings).mlflow
    assert chosen
    mlflow_runs.write(records.read("unused", Places.of(folder)), chosen)


@pytest.fixture(scope="module")
def shown(server: Server, finished: Finished) -> dict[str, dict[str, Any]]:
    """The run in MLflow, tracked once."""
    assert track(config(server, "shown"), "unused", Places.of(finished.folder))
    return server.runs("shown")


@pytest.fixture(scope="module")
def metrics(finished: Finished) -> dict[str, Any]:
    return dict(json.loads((finished.folder / "metrics.json").read_text()))


def test_every_model_and_seed_is_a_run_inside_of_the_whole(
    shown: dict[str, dict[str, Any]], metrics: dict[str, Any]
) -> None:
    names = {model["name"] for model in metrics["models"]}
    assert {"lr", "fm", "autofm", "autofm-random"} <= names
    seeds = {f"{m['name']}/{place(s)}" for m in metrics["models"] for s in m["seeds"]}
    assert shown.keys() == {"-"} | names | seeds
    for path, run in shown.items():
        assert run["status"] == "FINISHED"
        parent = path.rpartition("/")[0] or "-"
        assert run["tags"].get("mlflow.parentRunId") == (None if path == "-" else shown[parent]["id"])


def test_metrics_of_a_model_are_mean_and_spread_over_its_seeds(
    shown: dict[str, dict[str, Any]], metrics: dict[str, Any]
) -> None:
    for model in metrics["models"]:
        for split in ("valid", "test"):
            for name in ("auc", "logloss", "brier", "calibration_error"):
                values = [seed[split][name] for seed in model["seeds"]]
                key = f"{split}_{name}"
                found = shown[model["name"]]["metrics"]
                assert found[key] == pytest.approx(statistics.fmean(values), rel=1e-12)
                assert found[f"{key}_sd"] == pytest.approx(statistics.stdev(values), rel=1e-9)
                for seed, value in zip(model["seeds"], values, strict=True):
                    assert shown[f"{model['name']}/{place(seed)}"]["metrics"][key] == value
    whole = shown["-"]["metrics"]
    assert whole["test_auc"] == shown["autofm"]["metrics"]["test_auc"]  # what the search found


def test_curves_are_those_of_the_training_records(
    server: Server, shown: dict[str, dict[str, Any]], finished: Finished
) -> None:
    checked = 0
    for folder in finished.trainings:
        for record in (json.loads(path.read_text()) for path in folder.glob("*/run.json")):
            for seed in record["seeds"]:
                run = shown[f"{record['name']}/{place(seed)}"]["id"]
                for name in ("train_logloss", "valid_auc", "valid_logloss"):
                    expected = [(each["epoch"], each[name]) for each in seed["history"]["epochs"]]
                    assert sorted(server.curve(run, f"epoch/{name}")) == expected
                    checked += 1
    assert checked >= 3 * 2 * 4


def test_parameters_and_tags_say_what_was_run(
    shown: dict[str, dict[str, Any]], metrics: dict[str, Any]
) -> None:
    whole, tags = shown["-"]["params"], shown["-"]["tags"]
    assert whole["search.method"] == "statistics_auc"
    assert whole["models.default.learning_rate"] == "0.01"
    assert whole["models.default.hidden"] == "[8]"
    assert whole["seeds"] == "[0, 3]"
    assert not [key for key in whole if key.startswith(("data.", "tracking."))]
    assert shown["fm/seed-3"]["params"]["epochs"] == "3"
    for name in ("data_fingerprint", "schema_fingerprint"):
        assert tags[name] == metrics["data"][name]
    assert tags["code_version"] == metrics["code_version"]
    assert tags["ctrloom.kind"] == "run"
    assert "models on the same" in tags["mlflow.note.content"] or "No verdict" in tags["mlflow.note.content"]


def test_records_and_report_are_files_of_the_run(
    server: Server, shown: dict[str, dict[str, Any]], finished: Finished
) -> None:
    whole = shown["-"]
    names = {"metrics.json", "report.html", "architecture.json", "search.json"}
    assert server.files(whole["id"]) == names | {"architecture.md", "architecture.png"}
    for name in names:
        assert server.file(whole, name) == (finished.folder / name).read_bytes()
    pairs = json.loads((finished.folder / "architecture.json").read_text())["interactions"]
    text = server.file(whole, "architecture.md").decode()
    assert all(" x ".join(pair["fields"]) in text for pair in pairs)
    assert server.file(whole, "architecture.png")[:4] == b"\x89PNG"


def test_the_model_scores_as_the_command_does(
    server: Server,
    shown: dict[str, dict[str, Any]],
    finished: Finished,
    mixed_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mlflow

    (model,) = server.models("shown")
    assert model["source_run_id"] == shown["-"]["id"]
    predict(finished.folder / "bundle", [str(mixed_folder / "test.csv")], tmp_path / "p.parquet")
    expected = pq.read_table(tmp_path / "p.parquet")["probability"].to_numpy()
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    mlflow.set_tracking_uri(server.url)
    rows = pd.read_csv(mixed_folder / "test.csv", dtype=str, keep_default_na=False)
    for uri in (f"models:/{model['model_id']}", f"runs:/{shown['-']['id']}/model"):
        loaded = mlflow.pyfunc.load_model(uri)
        assert np.array_equal(loaded.predict(rows), expected)
        assert np.array_equal(loaded.predict(rows.drop(columns=["click", "share"])), expected)
    with pytest.raises(ValueError, match="lack the column 'user'"):
        loaded.predict(rows.drop(columns=["user"]))


def test_tracking_again_changes_nothing(server: Server, finished: Finished) -> None:
    def state() -> Any:
        write(server, "again", finished.folder)
        runs, models = server.runs("again"), server.models("again")
        curves = {path: server.curve(run["id"], "test_auc") for path, run in runs.items()}
        figures = {path: (run["id"], run["metrics"], run["params"]) for path, run in runs.items()}
        return figures, curves, [each["model_id"] for each in models], server.files(runs["-"]["id"])

    first = state()
    assert len(first[2]) == 1
    assert state() == first


def test_a_repeated_run_with_other_figures_updates_its_runs(
    server: Server, finished: Finished, tmp_path: Path
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    write(server, "changed", folder, bundle=False)
    before = server.runs("changed")
    results = Results.load(folder / "metrics.json")
    fm = results.model("fm")
    shorter = fm.model_copy(update={"curves": tuple(curve[:2] for curve in fm.curves)})
    found = results.shown
    spread = found.summary["test"]["auc"].model_copy(update={"mean": 0.123})
    summary = {**found.summary, "test": {**found.summary["test"], "auc": spread}}
    better = found.model_copy(update={"summary": summary})
    changes = {"fm": shorter, found.name: better}
    models = tuple(changes.get(m.name, m) for m in results.models if m.name != "lr")
    results.model_copy(update={"models": models}).save(folder / "metrics.json")
    write(server, "changed", folder, bundle=False)
    after = server.runs("changed")
    assert after.keys() == {path for path in before if not path.startswith("lr")}
    assert after["-"]["id"] == before["-"]["id"]
    assert after["-"]["metrics"]["test_auc"] == 0.123
    assert server.curve(after["-"]["id"], "valid_auc") == server.curve(before["-"]["id"], "valid_auc")
    assert [step for step, _ in sorted(server.curve(after["fm/seed-0"]["id"], "epoch/valid_auc"))] == [1, 2]
    kept = [path for path in after if path.startswith("autofm-")]
    assert kept
    assert all(after[path]["id"] == before[path]["id"] for path in kept)
    assert after["fm/seed-0"]["tags"]["mlflow.parentRunId"] == after["fm"]["id"]


def test_an_interrupted_tracking_is_completed(server: Server, finished: Finished) -> None:
    write(server, "interrupted", finished.folder, bundle=False)
    before = server.runs("interrupted")
    server.ask("/runs/delete", {"run_id": before["fm/seed-3"]["id"]})
    server.ask("/runs/update", {"run_id": before["lr"]["id"], "status": "RUNNING"})
    write(server, "interrupted", finished.folder, bundle=False)
    after = server.runs("interrupted")
    assert after.keys() == before.keys()
    assert {run["status"] for run in after.values()} == {"FINISHED"}
    assert after["fm/seed-3"]["metrics"] == before["fm/seed-3"]["metrics"]


def test_another_code_version_is_another_run(server: Server, finished: Finished, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    write(server, "versions", folder, bundle=False)
    results = Results.load(folder / "metrics.json")
    results.model_copy(update={"code_version": "9.9"}).save(folder / "metrics.json")
    write(server, "versions", folder, bundle=False)
    body = {"experiment_ids": [server.experiment("versions")], "filter": "tags.`ctrloom.path` = '-'"}
    found = server.ask("/runs/search", body)["runs"]
    versions = [{t["key"]: t["value"] for t in run["data"]["tags"]}["code_version"] for run in found]
    assert sorted(versions) == sorted(["9.9", results.code_version])


def test_registered_model_gets_one_version_per_bundle(server: Server, finished: Finished) -> None:
    for _ in range(2):
        write(server, "registered", finished.folder, registered_model="clicks")
    found = server.ask("/model-versions/search", filter="name='clicks'")["model_versions"]
    assert [version["version"] for version in found] == ["1"]


def test_what_mlflow_refuses_is_cut_and_renamed(server: Server) -> None:
    from ctrloom.tracking import mlflow_runs

    wide = Node(
        "näme\n'x'",
        {"reason": "r" * 10_000, "k|ey": "v"},
        {**{f"p{i}": i for i in range(250)}, "long": "x" * 9_000, "bad{key}": 1},
        {**{f"m{i}": float(i) for i in range(1_500)}, "drift/été": 1.0, "nan": float("nan")},
    )
    whole = Tracked("run", "wide", replace(wide, children=(wide,)), "d" * 10_000)
    mlflow_runs.write(whole, MlflowConfig(uri=server.url, experiment="wide"))
    for run in server.runs("wide").values():
        assert len(run["params"]) == 252
        assert len(run["metrics"]) >= 1_501
        assert run["params"]["bad_key_"] == "1"
        assert run["metrics"]["drift/_t_"] == 1.0
        assert run["params"]["long"].endswith("...")


def test_a_damaged_record_is_a_warning(
    server: Server, finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    edit_json(folder / "metrics.json", lambda value: value.update(base="x"))
    assert not track(config(server, "damaged"), "unused", Places.of(folder))
    (line,) = capsys.readouterr().err.splitlines()
    assert "metrics.json" in line


def test_signature_names_the_columns(finished: Finished, mixed: Dataset) -> None:
    from ctrloom.tracking.mlflow_model import _signature

    names = _signature(finished.folder / "bundle").inputs.input_names()
    assert names == ["user", "age", "price", "tags"]
