"""Operation on a cluster: schedules, caching, retries, cancellation, and promotion."""

import json
from datetime import date, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest
from on_cluster import Cluster, until

from ctrloom import stages, storage
from ctrloom.config import ModelsConfig, VocabularyConfig
from ctrloom.config.files import load_retraining_config
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.date_window import windowed
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.serving.predict import predict
from ctrloom.serving.registry import Registry
from ctrloom.training.runs import open_runs

pytestmark = pytest.mark.cluster
COLUMNS = {"click": "label", "field_00..field_02": "categorical", "time": "timestamp"}
MODEL = {"embedding_size": 4, "hidden": [8], "epochs": 40, "batch_size": 300, "learning_rate": 0.02}
DAY = date(2026, 1, 1)  # the first day that `synthesize` makes


@pytest.fixture(scope="session")
def days(cluster: Cluster) -> dict[str, Any]:
    """Three days of clicks in the store, and a champion trained on the first."""
    synth = SynthConfig(
        rows=9_000, fields=3, sizes=(10,), pairs=1, main_effects=1.0, noise=0.5, zipf=0.0, days=3, renewed=0.3
    )
    synthesize(synth, cluster.folder)
    names = [f"clicks-{DAY + timedelta(days=day)}.csv" for day in range(3)]
    urls = [cluster.put(name) for name in names]
    sections = {
        "name": "daily",
        "registry": f"{cluster.store}/registry",
        "data": {
            "files": urls[0].replace(str(DAY), "{date}"),
            "columns": COLUMNS,
            "split": {"by": "time", "valid": 0.1, "test": 0.2},
        },
        "growth": {"min_count": 5},
        "gate": {"require": "not_worse", "auc_margin": 0.002, "bootstrap": 100, "calibration_error": 0.05},
    }
    cluster.write("daily.yaml", sections)
    data = windowed(load_retraining_config(cluster.folder / "daily.yaml").data, DAY, 1)
    store = cluster.folder / "store"
    dataset = stages.vocabulary(stages.ingest(data, store), VocabularyConfig(), store)
    stages.baselines(dataset, ["fm"], ModelsConfig({"default": MODEL}), [0], cluster.folder / "runs")
    open_runs(cluster.folder / "runs")[0].export(Dataset.open(dataset), cluster.folder / "first")
    stages.promote(sections["registry"], cluster.folder / "first")
    return sections


@pytest.fixture(scope="session")
def quick(cluster: Cluster, days: dict[str, Any]) -> str:
    """Configuration of a comparison of one model, the shortest run with a training."""
    return cluster.write(
        "quick.yaml",
        {
            "name": "quick",
            "data": {**days["data"], "files": days["data"]["files"].replace("{date}", str(DAY))},
            "models": {"default": MODEL},
            "seeds": [0],
            "evaluation": {"base": "lr", "bootstrap": 50},
            "entries": [{"name": "lr", "model": "lr"}],
        },
    )


def test_doctor_passes_on_the_cluster(cluster: Cluster):
    done = cluster.ctrloom("doctor", "--store", cluster.store)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scheduled_retrain_promotes_one_day_and_stops_the_next(days, cluster: Cluster):
    registry = Registry(days["registry"])
    first = registry.champion()
    retrain = ("daily.yaml", "--pipeline", "scheduled_retrain", "--no-cached")
    cluster.succeed(*retrain, "--parameter", f"until={DAY + timedelta(days=1)}")
    second = registry.champion()
    assert second != first
    third_day = f"until={DAY + timedelta(days=2)}"
    stopped = cluster.succeed(*retrain, "--parameter", third_day, "--set", "gate.min_auc=0.999")
    assert registry.champion() == second
    verdict = storage.read_json(f"{cluster.artifact(stopped, 'gate', 'verdict')}/verdict.json")
    assert not verdict["promote"]


def test_batch_predict_scores_a_day_once(days, cluster: Cluster, tmp_path):
    files = days["data"]["files"]
    sections = {"name": "nightly", "registry": days["registry"], "files": files, "keep": ["time"]}
    cluster.write("nightly.yaml", sections)
    given = ("nightly.yaml", "--pipeline", "batch_predict", "--parameter", f"until={DAY}")
    skipped = []
    for _ in range(2):
        run = cluster.succeed(*given)
        found = storage.read_json(f"{cluster.artifact(run, 'batch-predict', 'scores')}/scores.json")
        skipped.append([file["skipped"] for file in found["predicted"]["files"]])
        assert found["bundle"] == Registry(days["registry"]).champion()[0]
    assert skipped == [[False], [True]]
    stages.fetch_bundle("", days["registry"], tmp_path / "bundle")
    predict(tmp_path / "bundle", [files.replace("{date}", str(DAY))], tmp_path / "here.parquet", ["time"])
    storage.download(storage.place(f"{cluster.store}/scores/nightly"), tmp_path / "there")
    here = pq.read_table(tmp_path / "here.parquet").to_pandas()
    there = pq.read_table(tmp_path / "there" / f"clicks-{DAY}.parquet").to_pandas()
    assert abs(here.pop("probability") - there.pop("probability")).max() < 1e-6  # other processors
    assert here.equals(there)


def test_second_run_uses_cache_and_schedule_fires(quick, cluster: Cluster):
    first = cluster.succeed(quick, "--pipeline", "compare")
    again = cluster.succeed(quick, "--pipeline", "compare")
    assert len(cluster.pods(first)) == 5
    assert len(cluster.pods(again)) == 2, "the preflight and the table"
    scheduled = (
        "schedule",
        quick,
        "--pipeline",
        "compare",
        "--cron",
        "0 * * * * *",
        "--cached",
        "--name",
        "often",
    )
    made = cluster.ctrloom(*scheduled)
    assert made.returncode == 0, made.stderr
    recurring = made.stdout.strip()
    try:
        assert "already scheduled" in cluster.ctrloom(*scheduled).stderr

        def fired() -> str | None:
            runs = cluster.api("runs").run_service_list_runs(page_size=100, sort_by="created_at desc").runs
            return next((run.run_id for run in runs or [] if run.recurring_run_id == recurring), None)

        assert cluster.wait(until(fired, 180, "run of the schedule")).returncode == 0
    finally:
        cluster.api("recurring").recurring_run_service_delete_recurring_run(recurring)


def test_step_is_retried_after_its_pod_is_deleted(quick, cluster: Cluster):
    run = cluster.submit(quick, "--pipeline", "compare", "--no-cached")

    def trains() -> str | None:
        return next((name for name in names() if "Running" in name[1]), (None,))[0]

    def names() -> list[tuple[str, str]]:
        return [
            (pod["metadata"]["name"], pod["status"]["phase"])
            for pod in cluster.pods(run)
            if "compare_job" in json.dumps(pod["spec"])
        ]

    cluster.kubectl("delete", "pod", until(trains, 600, "pod of compare_job"), "--grace-period=0", "--force")
    done = cluster.wait(run)
    assert done.returncode == 0, done.stderr
    assert [phase for _, phase in names()] == ["Succeeded"]


def test_wait_reports_a_cancelled_run(quick, cluster: Cluster):
    run = cluster.submit(quick, "--pipeline", "compare", "--no-cached")
    until(lambda: cluster.pods(run), 300, "pod")
    cluster.api("runs").run_service_terminate_run(run)
    done = cluster.wait(run)
    assert done.returncode == 1
    assert "CANCELED" in done.stderr
