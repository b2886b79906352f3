"""Signals and kills while steps train in real containers: nothing is left running, and no work is lost."""

import copy
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from contained_run import COMMAND, IMAGE, containers_of
from interrupted_run import RUN, figures, prepare

from ctrloom.interruption import SIGNALS
from ctrloom.runners.containers import LABEL, find_engine, image_id

pytestmark = pytest.mark.containers
SECONDS = 20  # in which everything ends after a signal
AGAIN = "run the same command again to resume after its finished steps"
TRAINED = ("FM, seed 0", "AutoFM, seed 0", "AutoFM, random selection, seed 0")  # in this order


@pytest.fixture(scope="module")
def engine() -> str:
    found = find_engine()
    image_id(found, IMAGE)
    return found


@pytest.fixture(scope="module")
def folder(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run whose models train for seconds each."""
    folder = tmp_path_factory.mktemp("stopped")
    folder.chmod(0o755)  # steps run as another user
    prepare(folder)
    run = copy.deepcopy(RUN) | {"baselines": ["fm"], "transfer": [], "seeds": [0]}
    run["models"]["default"] |= {"epochs": 1000, "patience": 1000}
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """The same run without interruption."""
    finish(folder, folder / "whole")
    return folder / "whole"


def finish(folder: Path, output: Path) -> None:
    command = [*COMMAND, "--output", str(output)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def training(folder: Path, output: Path, title: str) -> Iterator[subprocess.Popen[str]]:
    """A run that is training the model with this title."""
    log = output / "log.txt"
    with subprocess.Popen(
        [*COMMAND, "--output", str(output)],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as running:
        while not (log.exists() and f"- {title}: " in log.read_text()):
            assert running.poll() is None, running.stderr and running.stderr.read()
            time.sleep(0.05)
        time.sleep(1)
        yield running


def message(running: subprocess.Popen[str]) -> list[str]:
    """What a command that must end soon says, except its progress."""
    _, errors = running.communicate(timeout=SECONDS)
    return [line for line in errors.splitlines() if not line.startswith("- ")]


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def results(output: Path) -> list[object]:
    files = ("predictions.parquet", "bundle/model.safetensors")
    return [figures(output), *((output / name).read_bytes() for name in files)]


def continued(output: Path) -> list[str]:
    """The models whose training continued from a checkpoint."""
    lines = (output / "log.txt").read_text().splitlines()
    return [line.strip()[2:].split(":")[0] for line in lines if line.endswith("continues from a checkpoint")]


def test_signals_stop_containers_after_a_checkpoint(engine: str, folder: Path, whole: Path) -> None:
    output = folder / "signalled"
    for number, title in zip(SIGNALS, TRAINED, strict=True):
        with training(folder, output, title) as running:
            assert len(containers_of(engine, output)) == 1
            (os.killpg if number == signal.SIGINT else os.kill)(running.pid, number)  # as a terminal does
            assert message(running) == [f"ctrloom: stopped by {signal.Signals(number).name}; {AGAIN}"]
            assert running.returncode == 128 + number
        assert containers_of(engine, output, "--all") == []
    finish(folder, output)
    assert continued(output) == list(TRAINED)
    assert results(output) == results(whole)


@pytest.mark.parametrize("every", [False, True], ids=["command", "command-and-client"])
def test_containers_end_with_a_killed_command(engine: str, folder: Path, whole: Path, every: bool) -> None:
    output = folder / f"killed-{every}"
    with training(folder, output, TRAINED[0]) as running:
        (os.killpg if every else os.kill)(running.pid, signal.SIGKILL)
        running.wait()
        wait_until(lambda: containers_of(engine, output, "--all") == [])
    orphan = [engine, "run", "--detach", "--rm", f"--label={LABEL}={output}", "--entrypoint=sleep"]
    subprocess.run([*orphan, IMAGE, "infinity"], check=True, capture_output=True)
    finish(folder, output)
    assert containers_of(engine, output, "--all") == []
    assert results(output) == results(whole)


def test_killed_container_fails_the_run_which_then_continues(engine: str, folder: Path, whole: Path) -> None:
    output = folder / "container"
    with training(folder, output, TRAINED[1]) as running:
        subprocess.run([engine, "kill", *containers_of(engine, output)], check=True, capture_output=True)
        first, *rest = message(running)
        assert running.returncode == 2
    assert first.startswith("ctrloom: step retrain: it was killed (SIGKILL)")
    assert rest == [f"(full log: {output / 'log.txt'})"]
    assert containers_of(engine, output, "--all") == []
    finish(folder, output)
    assert results(output) == results(whole)
