"""A stopped run resumes, and a changed one starts over."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from damage import flips
from interrupted_run import RUN, figures, kill, prepare, times_done

from ctrloom.config import RunConfig
from ctrloom.runners import local, resume, step_cache
from ctrloom.runners.console import Console


def test_only_a_stopped_run_of_the_same_request_resumes(tmp_path):
    assert not resume.begin(tmp_path, {"seeds": [1]})
    assert resume.begin(tmp_path, {"seeds": [1]})
    assert not resume.begin(tmp_path, {"seeds": [2]})
    resume.finish(tmp_path)
    assert not resume.begin(tmp_path, {"seeds": [2]})


def test_what_changed_since_a_run_was_stopped_is_named(tmp_path, capsys):
    before = {"a.csv": (1, 2), "b.csv": (3, 4)}
    assert not resume.begin(tmp_path, {}, before)
    assert resume.begin(tmp_path, {}, before)
    assert capsys.readouterr().err == ""
    assert not resume.begin(tmp_path, {}, before | {"b.csv": (3, 5)})
    assert (
        f"{tmp_path}: since this run was stopped, b.csv changed; all steps run again"
        in capsys.readouterr().err
    )
    assert not resume.begin(tmp_path, {}, {})
    assert "a.csv changed and 1 others" in capsys.readouterr().err
    assert not resume.begin(tmp_path, {"seeds": [1]}, {})
    assert "its configuration, the code or files in a store changed" in capsys.readouterr().err
    (tmp_path / resume.BEGUN).write_text("x")
    assert not resume.begin(tmp_path, {"seeds": [1]}, {})
    assert ".begun was changed or damaged" in capsys.readouterr().err


def test_a_finished_step_is_reused_only_if_its_files_are_intact(tmp_path, capsys):
    from kfp import dsl
    from kfp.local import cache

    original = cache.LocalCache
    for name in ("runs", "table"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(bytes(range(100)))
    outputs = {
        "runs": dsl.Artifact(name="runs", uri=str(tmp_path / "runs")),
        "parts": [dsl.Artifact(name="part", uri=str(tmp_path / "table"))],
        "trials": [{"learning_rate": 0.25}],
    }
    with step_cache.verified_steps(tmp_path):
        steps = cache.LocalCache(str(tmp_path / ".kfp_cache"))
        steps.put("key", outputs)

        def reused():
            found = cache.LocalCache(str(tmp_path / ".kfp_cache")).get("key")
            return found and (found["runs"].uri, found["parts"][0].uri, found["trials"])

        truth = (str(tmp_path / "runs"), str(tmp_path / "table"), outputs["trials"])
        assert reused() == truth
        assert steps.get("other") is None
        for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
            for what in flips(path, 50):
                assert reused() in (None, truth), what
        assert "runs/weights: was changed or damaged" in capsys.readouterr().err
        (tmp_path / "table" / "weights").unlink()
        assert reused() is None
        assert "table/weights: is missing" in capsys.readouterr().err
    assert cache.LocalCache is original


def test_a_step_that_recorded_a_failure_is_not_reused(tmp_path):
    from kfp import dsl
    from kfp.local import cache

    for name, file in (("bad", "failure.json"), ("good", "job.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
    with step_cache.verified_steps(tmp_path) as failures:
        steps = cache.LocalCache(str(tmp_path / ".kfp_cache"))
        for name in ("bad", "good"):
            steps.put(name, {"done": dsl.Artifact(name="done", uri=str(tmp_path / name))})
        assert steps.get("bad") is None
        assert steps.get("good")["done"].uri == str(tmp_path / "good")
    assert failures == [tmp_path / "bad" / "failure.json"]


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


def test_a_log_on_a_full_disk_is_reported_once_and_stops_nothing(capsys):
    if not Path("/dev/full").is_char_device():
        pytest.skip("no /dev/full")
    with open("/dev/full", "wb", buffering=0) as log:
        console = Console(log)
        console.write("- ingest: 100%\nValueError: a message\n")
        console.write("more\n")
    assert console.error == "a message"
    told = capsys.readouterr().err
    assert told.count("/dev/full: is incomplete: No space left on device") == 1
    assert "ingest: 100%" in told


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("    ctrloom.config.errors.ConfigError: no column 'a'", "no column 'a'"),
        ("Error: runc: operation not permitted", "Error: runc: operation not permitted"),
        ("docker: Error response from daemon: no space", "docker: Error response from daemon: no space"),
        ("An Error: in a sentence", ""),
    ],
)
def test_the_message_of_a_run_is_that_of_its_step_or_of_the_engine(tmp_path, line, error):
    with open(tmp_path / "log.txt", "wb", buffering=0) as log:
        console = Console(log)
        console.write(f"{line}\nfinished\n")
    assert console.error == error
