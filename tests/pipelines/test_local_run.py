"""The whole pipeline through KFP's local runner, and its commands, as a user runs them."""

import itertools
import json
import signal
import subprocess
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from ctrloom import load_bundle
from ctrloom.architecture import Architecture
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.evaluation.results import Results
from ctrloom.runners.local import finished_steps

SYNTH = SynthConfig(rows=12_000, fields=5, sizes=(8,), pairs=2, seed=3)
RUN = {
    "name": "small",
    "data": {
        "files": "clicks.csv",
        "columns": {"click": "label", "field_00..field_04": "categorical"},
    },
    "search": {"batch_size": 200, "random_draws": 1},
    "models": {
        "default": {"hidden": [8], "epochs": 3, "batch_size": 500, "learning_rate": 0.01},
        "gbdt": {"trees": 20},
    },
    "baselines": ["lr", "fm", "gbdt"],
    "transfer": ["ipnn"],
    "seeds": [0, 1],
    "bundles": ["gbdt", "autofm-random"],
    "evaluation": {"base": "fm", "truth": "truth.json", "bootstrap": 200},
}


def started(python, *arguments, cwd):
    command = [python, "-m", "ctrloom", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def ctrloom(python):
    return partial(started, python)


@pytest.fixture(scope="module")
def run(ctrloom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    synthesize(SYNTH, folder)
    (folder / "small.yaml").write_text(yaml.safe_dump(RUN))
    done = ctrloom("run", "small.yaml", "--output", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_run_directory_is_complete(run):
    folder, _ = run
    for name in (
        "architecture.json",
        "bundle/model.safetensors",
        "transfer/ipnn/model.safetensors",
        "bundles/best.json",
        "bundles/best/model.safetensors",
        "bundles/autofm-random/model.safetensors",
        "metrics.json",
        "predictions.parquet",
        "report.html",
        "log.txt",
        "data",
    ):
        assert (folder / "out" / name).exists(), name


def test_every_artifact_of_a_step_has_content(run):
    folder, _ = run
    ended = list((folder / "out" / "steps").rglob("executor_output.json"))
    assert len(ended) == 6 + 3 * len(RUN["seeds"])
    for step in ended:
        for artifact in json.loads(step.read_text())["artifacts"].values():
            assert Path(artifact["artifacts"][0]["uri"]).exists(), artifact


def test_independent_steps_run_in_the_order_of_their_names(run):
    folder, _ = run
    trained = ["deterministic-baselines", "baselines", "search-autofis", "retrain", "transfer"]
    order = ["ingest", "vocabulary", *trained, "bundle", "evaluate"]
    assert list(finished_steps(folder / "out" / "steps")) == order


def test_planted_pairs_are_found_and_printed(run):
    folder, done = run
    truth = json.loads((folder / "truth.json").read_text())["interactions"]
    found = Architecture.load(folder / "out" / "architecture.json")
    assert set(map(tuple, truth)) <= set(found.of_order(2))
    assert "planted and found: 2 of 2" in done.stdout
    assert "report.html" in done.stdout


def test_verdict_of_the_report_is_printed(run):
    folder, done = run
    printed = " ".join(done.stdout.split())
    said = "still improving when their training ended"  # after three epochs
    for text in (printed, (folder / "out" / "report.html").read_text()):
        assert "No verdict: trainings ended too early" in text
        assert said in text
        assert "this comparison is not valid. Raise models." in text


def test_models_are_compared_on_the_same_rows(run):
    folder, _ = run
    results = Results.load(folder / "out" / "metrics.json")
    names = {model.name for model in results.models}
    assert {"lr", "fm", "gbdt", "autofm", "autofm-random", "autofm-unpruned", "ipnn-transfer"} <= names
    assert {seed.test.rows for model in results.models for seed in model.seeds} == {results.data.rows["test"]}
    assert pq.read_table(folder / "out" / "predictions.parquet").num_rows == results.data.rows["test"]


def test_individual_stages_match_the_pipeline_bit_for_bit(run, ctrloom):
    folder, _ = run

    def stage(*arguments):
        done = ctrloom(*arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1]

    ingested = stage("ingest", "small.yaml", "--store", "store")
    dataset = stage("vocabulary", "small.yaml", "--ingested", ingested, "--store", "store")
    stage("search", "small.yaml", "--dataset", dataset, "--output", "found")
    stage("retrain", "small.yaml", "--dataset", dataset, "--search", "found", "--output", "again")
    by_hand, by_pipeline = folder / "again" / "bundle", folder / "out" / "bundle"
    same = "model.safetensors"
    assert (by_hand / same).read_bytes() == (by_pipeline / same).read_bytes()
    mine, theirs = (Architecture.load(path / "architecture.json") for path in (by_hand, by_pipeline))
    assert mine.interactions == theirs.interactions


@pytest.mark.slow
def test_processes_of_their_own_train_the_same_model(run):
    folder, _ = run
    done = started(sys.executable, "run", "small.yaml", "--output", "alone", cwd=folder)
    assert done.returncode == 0, done.stderr
    ours, theirs = (folder / name / "bundle" / "model.safetensors" for name in ("alone", "out"))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("bundle", ["bundle", "bundles/gbdt"])
def test_bundle_scores_raw_rows(run, bundle):
    """In a new process, which imports what it needs."""
    folder, _ = run
    done = started(
        sys.executable,
        "predict",
        "--bundle",
        f"out/{bundle}",
        "--input",
        "clicks.csv",
        "--output",
        "scored.parquet",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert pq.read_table(folder / "scored.parquet").num_rows == SYNTH.rows


def test_failing_step_fails_the_run_with_its_message(run, ctrloom):
    folder, _ = run
    columns = {"clack": "label", "field_00..field_01": "categorical"}
    broken = {**RUN, "data": {**RUN["data"], "columns": columns}}
    (folder / "broken.yaml").write_text(yaml.safe_dump(broken))
    done = ctrloom("run", "broken.yaml", "--output", "broken", cwd=folder)
    assert done.returncode == 2
    assert "has no column 'clack'" in done.stderr
    assert "log.txt" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_key_names_the_right_one(run, ctrloom):
    folder, _ = run
    done = ctrloom(
        "search", "small.yaml", "--dataset", "x", "--output", "y", "--set", "search.epoch=3", cwd=folder
    )
    assert done.returncode == 2
    assert "did you mean 'epochs'?" in done.stderr
    assert not Path(folder / "y").exists()


def test_compare_pipeline_matches_compare_processes(run, ctrloom):
    folder, _ = run
    comparison = {k: RUN[k] for k in ("name", "data", "models", "seeds")} | {
        "evaluation": {"base": "fm", "bootstrap": 50},
        "entries": [
            {"name": "fm", "model": "fm"},
            {
                "name": "found",
                "search": {"batch_size": 200, "epochs": 1, "threshold": 0.5},
                "controls": ["random"],
            },
        ],
    }
    (folder / "compare.yaml").write_text(yaml.safe_dump(comparison))
    tables = []
    for output, option in (("pipeline", ["--pipeline"]), ("processes", ["--workers", "1"])):
        done = ctrloom("compare", "compare.yaml", "--output", output, *option, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "No verdict: trainings ended too early" in done.stdout
        table = Results.load(folder / output / "comparison" / "metrics.json")
        tables.append(
            {
                (model.name, seed.seed): (
                    model.kept,
                    [(m.rows, m.auc, m.logloss) for m in (seed.valid, seed.test)],
                )
                for model in table.models
                for seed in model.seeds
            }
        )
        assert (folder / output / "comparison" / "comparison.html").is_file()
        assert (folder / output / "bundles" / "best" / "model.safetensors").is_file()
    rows = list(itertools.product(("fm", "found", "found-random"), RUN["seeds"]))
    assert list(tables[0]) == list(tables[1]) == rows
    for key, (kept, metrics) in tables[0].items():
        assert kept == tables[1][key][0]
        # a worker may have other threads than a step, and sums over threads round differently
        np.testing.assert_allclose(metrics, tables[1][key][1], atol=1e-4)


def answered(address: str, rows: pd.DataFrame) -> tuple[str, np.ndarray]:
    """The version of the model that serves, and its probabilities of some rows."""
    inputs = [
        {"name": name, "datatype": "BYTES", "shape": [len(rows)], "data": rows[name].tolist()}
        for name in rows.columns
    ]
    request = urllib.request.Request(f"{address}/infer", json.dumps({"inputs": inputs}).encode())
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    return answer["model_version"], np.float32(answer["outputs"][0]["data"])


def test_what_a_run_found_is_exported_served_and_replaced(run, ctrloom):
    """The whole path: run, export, promote, serve, request, promote; the new version serves."""
    folder, _ = run
    rows = pd.read_csv(folder / "clicks.csv", dtype=str).drop(columns="click").head(40)

    done = ctrloom(
        "export", "--bundle", "out/bundle", "--output", "exported", "--rows", "clicks.csv", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "exported" / "export.json").read_text())["parity"]["probability"] <= 1e-5

    def promoted(bundle: str) -> tuple[str, np.ndarray]:
        done = ctrloom("promote", "--registry", "registry", "--bundle", bundle, cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), load_bundle(folder / bundle).predict(rows)

    first, expected = promoted("out/bundle")
    options = {"--registry": "registry", "--port": "0", "--grpc-port": "-1", "--poll": "0.1", "--drain": "0"}
    command = [sys.executable, "-m", "ctrloom", "serve", *itertools.chain(*options.items())]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        address = next(line.split()[-1] for line in server.stderr if "http://" in line)
        version, probability = answered(address, rows)
        assert version == first
        assert np.allclose(probability, expected, atol=1e-6)
        second, expected = promoted("out/transfer/ipnn")
        deadline = time.monotonic() + 60
        while answered(address, rows)[0] != second:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert np.allclose(answered(address, rows)[1], expected, atol=1e-6)
        server.terminate()
        server.communicate(timeout=30)
    assert server.returncode == 128 + signal.SIGTERM
