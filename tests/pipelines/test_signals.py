"""A run that is asked to stop: its status and message, that no process remains, and that it resumes."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from interrupted_run import figures, prepare
from processes import family, left_after

COMMAND = (sys.executable, "-m", "ctrloom", "run", "run.yaml", "--output")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signals")
    prepare(folder)
    return folder


def stopped(folder: Path, output: str, step: str, number: int) -> None:
    """Start a run and stop it within a step, by a signal to its first process."""
    environment, log = family(), folder / output / "log.txt"
    with subprocess.Popen(
        [*COMMAND, output], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    ) as running:
        while not (log.exists() and f"component `{step}`" in log.read_text()):
            assert running.poll() is None
            time.sleep(0.05)
        time.sleep(random.random())
        running.send_signal(number)
        began = time.monotonic()
        _, errors = running.communicate()
        assert time.monotonic() - began < 20
    assert left_after(environment) == {}
    if number == signal.SIGKILL:
        return
    assert running.returncode == 128 + number
    name = signal.Signals(number).name
    line = f"ctrloom: stopped by {name}; run the same command again to resume after its finished steps"
    assert [each for each in errors.splitlines() if not each.startswith("- ")] == [line]


def test_run_stops_and_no_process_remains(folder: Path) -> None:
    stopped(folder, "once", "ingest", signal.SIGTERM)


@pytest.mark.slow
def test_run_that_is_stopped_again_and_again_gives_the_same_metrics(folder: Path) -> None:
    subprocess.run([*COMMAND, "whole"], cwd=folder, check=True, capture_output=True)
    moments = (
        ("vocabulary", signal.SIGINT),
        ("search_autofis", signal.SIGTERM),
        ("retrain", signal.SIGHUP),
        ("transfer", signal.SIGKILL),
        ("evaluate", signal.SIGTERM),
    )
    for step, number in moments:
        stopped(folder, "stopped", step, number)
    subprocess.run([*COMMAND, "stopped"], cwd=folder, check=True, capture_output=True)
    assert figures(folder / "stopped") == figures(folder / "whole")
