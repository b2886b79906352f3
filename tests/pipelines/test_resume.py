"""A stopped run resumes, and a changed one starts over."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from interrupted_run import RUN, figures, kill, prepare, times_done

from ctrloom.config import RunConfig
from ctrloom.runners import local, resume


def test_only_a_stopped_run_of_the_same_request_resumes(tmp_path):
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


COMMAND = (sys.executable, "-m", "ctrloom", "run", "run.yaml", "--output")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with an uninterrupted run in `whole`."""
    folder = tmp_path_factory.mktemp("stopped")
    prepare(folder)
    subprocess.run([*COMMAND, "whole"], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("step", ["vocabulary", "search-autofis", "transfer"])
def test_killed_run_resumes_with_the_same_metrics(whole, step):
    output = whole / step
    ended = kill([*COMMAND, step], whole, output, after=step)
    assert "ingest" in ended
    subprocess.run([*COMMAND, step], cwd=whole, check=True, capture_output=True)
    times = times_done(output)
    assert {times[each] for each in ended} == {1}
    every = {
        "ingest",
        "vocabulary",
        "deterministic-baselines",
        "baselines",
        "retrain",
        "transfer",
        "bundle",
        "evaluate",
    }
    assert {Path(each).name for each in times} >= every
    assert figures(output) == figures(whole / "whole")


@pytest.mark.parametrize(
    ("store", "kept"), [("gs://b/data", "gs://b/data"), ("sets", "{cwd}/sets"), (None, "{out}/data")]
)
def test_store_may_be_outside_the_run_directory(tmp_path, monkeypatch, store, kept):
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "run_pipeline", lambda _, parameters, *__: asked.append(parameters["store"]))
    local.run_local(RunConfig.parse(RUN, "run"), tmp_path / "out", store=store)
    assert asked == [kept.format(cwd=tmp_path, out=tmp_path / "out")]
