"""Commands that are asked to stop: status and message, that no process remains, and that a run resumes."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from interrupted_run import RUN, figures, prepare
from processes import family, left_after

CTRLOOM = (sys.executable, "-m", "ctrloom")
AGAIN = "run the same command again"
RESUMES = f"{AGAIN} to resume after its finished "
LONG = {"default": {"epochs": 10_000, "patience": 10_000, "batch_size": 50}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    prepare(folder)
    comparison = {
        "name": "long",
        "data": RUN["data"],
        "models": LONG,
        "entries": [{"name": "fm", "model": "fm"}],
        "seeds": [0, 1],
    }
    (folder / "compare.yaml").write_text(yaml.safe_dump(comparison))
    return folder


def stop(
    folder: Path, command: Sequence[str], log: str, text: str, number: int, advice: str, **settings: str
) -> None:
    """Start a command and stop it after a file has a text, by a signal to its first process.

    SIGINT is sent to all its processes, as a terminal does.
    """
    environment, at, output = family() | settings, folder / log, folder / "output"
    with (
        open(output, "w") as written,
        subprocess.Popen(
            [*CTRLOOM, *command],
            cwd=folder,
            env=environment,
            stdout=written,
            stderr=written,
            start_new_session=True,
        ) as running,
    ):
        while not (at.exists() and text in at.read_text()):
            assert running.poll() is None, output.read_text()
            time.sleep(0.05)
        time.sleep(random.random())
        (os.killpg if number == signal.SIGINT else os.kill)(running.pid, number)
        running.wait(20)
    assert left_after(environment) == {}
    if number == signal.SIGKILL:
        return
    assert running.returncode == 128 + number
    line = f"ctrloom: stopped by {signal.Signals(number).name}; {advice}"
    assert [each for each in output.read_text().splitlines() if not each.startswith("- ")] == [line]


def stop_run(folder: Path, output: str, step: str, number: int) -> None:
    command = ("run", "run.yaml", "--output", output)
    stop(folder, command, f"{output}/log.txt", f"component `{step}`", number, f"{RESUMES}steps")


def test_run_stops_and_no_process_remains(folder: Path) -> None:
    stop_run(folder, "once", "ingest", signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_comparison_stops_its_workers(folder: Path, number: int) -> None:
    output = f"compared-{number}"
    command = ("compare", "compare.yaml", "--output", output, "--workers", "2")
    stop(folder, command, f"{output}/jobs/fm/seed-0.log", "FM, seed 0", number, f"{RESUMES}jobs")


def test_output_that_nobody_reads_is_no_error() -> None:
    with subprocess.Popen(
        [*CTRLOOM, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout
        running.stdout.close()
        assert running.stderr
        assert (running.stderr.read(), running.wait(20)) == ("", 1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_data_parallel_training_stops(folder: Path, number: int) -> None:
    (folder / "long.yaml").write_text(yaml.safe_dump(RUN | {"models": LONG}))
    for stage in ("ingest", "vocabulary"):
        command = [*CTRLOOM, stage, "long.yaml", "--store", "store"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    [manifest] = (folder / "store").glob("encoded-*/manifest.json")
    command = ["baselines", "long.yaml", "--dataset", str(manifest), "--output", "out"]
    advice = f"{AGAIN} to continue from its checkpoints"
    stop(folder, command, "output", "LR, seed 0", number, advice, CTRLOOM_PROCESSES="2")
    assert not (folder / "out" / "runs").exists()


@pytest.mark.slow
def test_run_that_is_stopped_again_and_again_gives_the_same_metrics(folder: Path) -> None:
    command = (*CTRLOOM, "run", "run.yaml", "--output")
    subprocess.run([*command, "whole"], cwd=folder, check=True, capture_output=True)
    moments = {"vocabulary": signal.SIGINT, "search_autofis": signal.SIGHUP, "retrain": signal.SIGTERM}
    for step, number in moments.items():
        stop_run(folder, "stopped", step, number)
    subprocess.run([*command, "stopped"], cwd=folder, check=True, capture_output=True)
    assert figures(folder / "stopped") == figures(folder / "whole")
