"""A run that was stopped goes on, and one that changed starts anew."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from ctrloom.config import RunConfig
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.pipelines import local, resume


def test_only_a_stopped_run_of_the_same_request_goes_on(tmp_path):
    assert not resume.begin(tmp_path, {"seeds": [1]})
    assert resume.begin(tmp_path, {"seeds": [1]})
    assert not resume.begin(tmp_path, {"seeds": [2]})
    resume.finish(tmp_path)
    assert not resume.begin(tmp_path, {"seeds": [2]})


def test_a_changed_file_is_another_request(tmp_path):
    file = tmp_path / "clicks.csv"
    file.write_text("a\n")
    before = resume.states([file, tmp_path / "absent.csv"])
    assert before == resume.states([file])
    file.write_text("b\n")
    os.utime(file, ns=(1, 1))
    assert resume.states([file]) != before


RUN = {
    "name": "stopped",
    "data": {"files": "clicks.csv", "columns": {"click": "label", "field_00..field_03": "categorical"}},
    "search": {"batch_size": 200, "random_draws": 1},
    "models": {"default": {"hidden": [8], "epochs": 2, "batch_size": 500}},
    "baselines": ["lr", "fm"],
    "transfer": ["ipnn"],
    "seeds": [0],
    "evaluation": {"base": "fm", "bootstrap": 50},
}


@pytest.mark.slow
@pytest.mark.parametrize("step", ["vocabulary", "search-autofis", "transfer"])
def test_a_killed_run_goes_on_where_it_was_with_the_same_metrics(tmp_path, step):
    synthesize(SynthConfig(rows=6_000, fields=4, sizes=(8,), pairs=1, seed=3), tmp_path)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(RUN))
    command = [sys.executable, "-m", "ctrloom", "run", "run.yaml", "--output"]
    subprocess.run([*command, "whole"], cwd=tmp_path, check=True, capture_output=True)
    with subprocess.Popen([*command, "out"], cwd=tmp_path, start_new_session=True) as stopped:
        while not list((tmp_path / "out").glob(f"steps/*/{step}*/**/executor_output.json")):
            assert stopped.poll() is None
            time.sleep(0.02)
        os.killpg(stopped.pid, signal.SIGKILL)
    subprocess.run([*command, "out"], cwd=tmp_path, check=True, capture_output=True)
    done = [path.parent.name for path in (tmp_path / "out" / "steps").rglob("executor_output.json")]
    assert done.count("ingest") == 1
    assert set(done) >= {"ingest", "vocabulary", "baselines", "retrain", "transfer", "evaluate"}
    whole, again = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "out"))
    for each in (whole, again):
        each["run"] = None
    assert again["models"] == whole["models"]


@pytest.mark.parametrize(
    ("store", "kept"), [("gs://b/data", "gs://b/data"), ("sets", "{cwd}/sets"), (None, "{out}/data")]
)
def test_data_sets_may_be_kept_elsewhere(tmp_path, monkeypatch, store, kept):
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "run_pipeline", lambda _, parameters, *__: asked.append(parameters["store"]))
    local.run_local(RunConfig.parse(RUN, "run"), tmp_path / "out", store=store)
    assert asked == [kept.format(cwd=tmp_path, out=tmp_path / "out")]
