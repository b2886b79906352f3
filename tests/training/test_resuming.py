"""Stages that are stopped at any step and started again give bit-identical results."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from ctrloom import stages
from ctrloom.architecture import Architecture
from ctrloom.config import MODELS, DataConfig, Entry, ModelsConfig, VocabularyConfig, search_config
from ctrloom.config.environment import CHECKPOINTS
from ctrloom.config.tuning import Target, TuningConfig, TuningJob
from ctrloom.data.batches import stream
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.parquet import writer
from ctrloom.data.synthetic import SynthConfig, synthesize
from ctrloom.data.vocabulary import encode
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.interruption.stop import Stopped, state
from ctrloom.methods.cell_graphs import random_graph
from ctrloom.training import trees
from ctrloom.training.checkpoints import Loop, loop, stage
from ctrloom.training.plans import Plan, train_runs

CLOCKS = {"seconds", "rows_per_second", "search_seconds"}
SETTINGS: dict[str, Any] = {
    "embedding_size": 4,
    "hidden": (8,),
    "dropout": 0.3,
    "embedding_dropout": 0.1,
    "batch_norm": True,
    "batch_size": 100,
    "epochs": 4,
    "patience": 1,
    "decays": 1,
    "learning_rate": 0.03,
    "device": "cpu",
}
EXTRA: dict[str, dict[str, Any]] = {
    "fm": {"embedding_optimizer": "rowwise_adagrad"},
    "deepfm": {"embedding_optimizer": "lazy_adam", "base_batch_size": 50},
    "optinter": {"layer_norm": False},
    "masknet": {"batch_norm": False},
    "dcnv3": {"batch_norm": False},
    "finalnet": {"second_hidden": (4,)},
    "gbdtlr": {"trees": 20, "row_share": 0.7},
    "gbdt": {"trees": 20},
    "gbdtpoly2": {"trees": 20},
}
QUICK: dict[str, Any] = {"epochs": 2, "random_draws": 1, "batch_size": 100}
PI = {"method": "autopi", "base": "autopi", "nodes": 2, **QUICK}
SEARCHES: dict[str, dict[str, Any]] = {
    "autofis": {"method": "autofis", "order": 3, "confirm": False, **QUICK},
    "autofis, halves": {"method": "autofis", "bi_level": True, **QUICK},
    "autofis, streamed": {"method": "autofis", "bi_level": True, **QUICK},
    "aim": {"method": "aim", "base": "aim", "embedding_epochs": 2, "embedding_threshold": 0.5, **QUICK},
    "optinter": {"method": "optinter", "base": "optinter", "warm_up": 1, "keep_weights": True, **QUICK},
    "optinter, halves": {"method": "optinter", "base": "optinter", "bi_level": True, "gumbel": True, **QUICK},
    "autopi": {**PI, "frozen": 1, "epochs": 3, "anneal": True},
    "autopi, sgd": {**PI, "optimizer": "sgd", "choose_by": "perturbation"},
    "autopi, one shot": {**PI, "strategy": "one_shot", "candidates": 9, "finalists": 2, "finalist_epochs": 1},
    "autopi, random": {**PI, "strategy": "random", "samples": 2},
}


class KilledError(BaseException):
    """What stops a stage; nothing catches it."""


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dataset]:
    """900 clicks with cross features, in row groups of 50, of which 3 are in a window."""
    folder = tmp_path_factory.mktemp("clicks")
    with pytest.MonkeyPatch.context() as patch:
        for module in (writer, encode):
            patch.setattr(module, "GROUP_ROWS", 50)
        patch.setattr(stream, "WINDOW", 3)
        synthesize(SynthConfig(rows=900, fields=4, sizes=(8,), pairs=2, strength=2.0, seed=3), folder)
        columns = {"click": "label", "field_00..field_03": "categorical"}
        data = DataConfig.parse({"files": [str(folder / "clicks.csv")], "columns": columns}, "test")
        crosses = VocabularyConfig.parse({"min_count": 1, "crosses": {"pairs": "all"}}, "test")
        yield Dataset.open(build_vocabulary(ingest(data, folder / "store"), crosses, folder / "store"))


@pytest.fixture(autouse=True)
def _checkpoints_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SPACING", 0.0)
    monkeypatch.setattr(stage, "SHARE", 1e9)


@contextmanager
def steps(stop_after: int | None = None, saved_every: int = 1) -> Iterator[list[str]]:
    """Collects the loop of every step; stops after some, and saves only at some."""
    taken: list[str] = []
    after_step = Loop.after_step

    def counting(self: Loop) -> None:
        taken.append(self.title)
        if len(taken) % saved_every == 0:
            after_step(self)
        if len(taken) == stop_after:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "after_step", counting)
        yield taken


def results(folder: Path) -> dict[str, Any]:
    """All files of a folder; of JSON the values, except times."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: timeless(each) for k, each in value.items() if k not in CLOCKS | {"checksum", "files"}}
        return [timeless(each) for each in value] if isinstance(value, list) else value

    return {
        path.relative_to(folder).as_posix(): timeless(json.loads(path.read_bytes()))
        if path.suffix == ".json"
        else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def train(dataset: Dataset, names: list[str], output: Path, **settings: Any) -> None:
    models = ModelsConfig(
        {"default": SETTINGS | settings, **{name: EXTRA[name] for name in names if name in EXTRA}}
    )
    every = Architecture.complete(dataset.schema.names)
    graph = every.model_copy(update={"interactions": (), "cells": random_graph(2, 0)})
    functions = ("memorize", "hadamard", "memorize")
    pairs = [
        i.model_copy(update={"function": f}) for i, f in zip(every.interactions, functions, strict=False)
    ]
    functions = "inner", "outer", "vector_kernel", "scalar_kernel"
    own = {
        "autopi": graph,
        "optinter": every.model_copy(update={"interactions": tuple(pairs)}),
        "fwfm": Architecture.complete(dataset.schema.names, functions=functions),
    }
    plans = [Plan(name, name, "baseline", name, (own.get(name, every),)) for name in names]
    train_runs(dataset, plans, models, [0, 1], output)


def search(dataset: Dataset, name: str, output: Path) -> None:
    config = search_config(SEARCHES[name])
    streamed = {"rows": "stream"} if "streamed" in name else {}
    settings = {**SETTINGS, **streamed, "batch_norm": config.base not in ("autopi", "optinter")}
    stages.search(dataset.path, config, ModelsConfig({"default": settings}), output)


def check(run: Callable[[Path], object], folder: Path, stops: Callable[[int], list[int]]) -> None:
    """Compare a run without checkpoints with runs that are stopped, after the numbers of steps of `stops`."""
    with pytest.MonkeyPatch.context() as patch, steps() as taken:
        patch.setenv(CHECKPOINTS, "off")
        run(folder / "plain")
    expected = results(folder / "plain")
    for number, stop in enumerate(stops(len(taken))):
        every = 1 + number % 3
        with steps(stop, every) as before, pytest.raises(KilledError):
            run(folder / str(stop))
        assert not (folder / str(stop)).exists()
        with steps() as after:
            run(folder / str(stop))
        assert len(before) + len(after) < len(taken) + every, "it does not start over"
        assert results(folder / str(stop)) == expected, f"stopped after {stop} of {len(taken)} steps"
        assert {path.name for path in folder.iterdir()} <= {"plain", *map(str, stops(len(taken)))}


def some(count: int) -> Callable[[int], list[int]]:
    return lambda steps: sorted(random.Random(steps).sample(range(1, steps + 1), min(count, steps)))


def every(steps: int) -> list[int]:
    return list(range(1, steps + 1))


NEURAL = [name for name in MODELS if not MODELS[name].trees]


@pytest.mark.parametrize("name", NEURAL)
def test_stopped_training_continues_bit_for_bit(name: str, clicks: Dataset, tmp_path: Path) -> None:
    check(lambda output: train(clicks, [name], output), tmp_path, some(2))


def test_stopped_training_on_streamed_rows_continues_bit_for_bit(clicks: Dataset, tmp_path: Path) -> None:
    check(lambda output: train(clicks, ["fm", "ipnn"], output, rows="stream"), tmp_path, some(5))


@pytest.mark.parametrize("name", SEARCHES)
def test_stopped_search_continues_bit_for_bit(name: str, clicks: Dataset, tmp_path: Path) -> None:
    check(lambda output: search(clicks, name, output), tmp_path, some(2))


def test_trees_that_were_finished_are_not_boosted_again(
    clicks: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boosted: list[int] = []
    booster = trees._booster
    monkeypatch.setattr(trees, "_booster", lambda *args: boosted.append(args[-1]) or booster(*args))
    check(lambda output: train(clicks, ["gbdtlr", "gbdtpoly2"], output), tmp_path, lambda steps: [steps - 1])
    assert boosted == [0, 1, 0, 1] * 2, "all without checkpoints, and all until it was stopped"


def test_models_that_were_finished_are_not_trained_again(clicks: Dataset, tmp_path: Path) -> None:
    with steps() as whole:
        train(clicks, ["lr", "fm", "ipnn"], tmp_path / "whole")
    with steps(whole.index("ipnn, seed 1") + 1), pytest.raises(KilledError):
        train(clicks, ["lr", "fm", "ipnn"], tmp_path / "stopped")
    with steps() as left:
        train(clicks, ["lr", "fm", "ipnn"], tmp_path / "stopped")
    assert left == whole[whole.index("ipnn, seed 1") + 1 :]
    assert results(tmp_path / "stopped") == results(tmp_path / "whole")


def test_stopped_job_of_a_comparison_does_not_search_again(clicks: Dataset, tmp_path: Path) -> None:
    entry = Entry.parse(
        {"name": "found", "search": {"epochs": 1, "threshold": 0.3, "confirm": False}, "transfer": ["fm"]},
        "test",
    )
    models = ModelsConfig({"default": SETTINGS})

    def job(output: Path) -> None:
        stages.run_job(clicks.path, entry, 0, models, output)

    with steps() as whole:
        job(tmp_path / "whole")
    with steps(len(whole) - 1), pytest.raises(KilledError):
        job(tmp_path / "stopped")
    with steps() as left:
        job(tmp_path / "stopped")
    assert left == whole[-1:]
    assert results(tmp_path / "stopped") == results(tmp_path / "whole")


def test_stopped_trial_of_tuning_continues(clicks: Dataset, tmp_path: Path) -> None:
    target = Target(name="fm", model="fm", orders=(2,))
    job = TuningJob(targets=(target,), models=ModelsConfig({"default": SETTINGS}), seed=0)
    space = {"learning_rate": {"low": 0.003, "high": 0.3, "log": True}}
    config = TuningConfig.parse({"trials": 4, "spaces": {"fm": space}}, "test")

    def tune(name: str) -> Any:
        tuning = stages.tune(clicks.path, job, config, tmp_path / name / "studies", tmp_path / name / "tuned")
        return [trial.model_dump(exclude={"seconds", "reason"}) for trial in tuning.models[0].trials]

    with steps() as taken:
        expected = tune("whole")
    with steps(len(taken) - 2), pytest.raises(KilledError):
        tune("stopped")
    with steps() as left:
        assert tune("stopped") == expected
    assert len(left) == 2
    assert sorted(path.name for path in (tmp_path / "stopped").iterdir()) == ["studies", "tuned"]


def test_signal_saves_a_checkpoint_and_stops(
    clicks: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(clicks, ["fm"], tmp_path / "whole")
    monkeypatch.setattr(loop, "SPACING", 1e9)
    after_step, taken = Loop.after_step, list[str]()

    def signalled(self: Loop) -> None:
        taken.append(self.title)
        if len(taken) == 7:
            state.receive(signal.SIGTERM)
        after_step(self)

    monkeypatch.setattr(state, "signal", 0)
    monkeypatch.setattr(Loop, "after_step", signalled)
    with pytest.raises(Stopped):
        train(clicks, ["fm"], tmp_path / "stopped")
    monkeypatch.setattr(state, "signal", 0)
    train(clicks, ["fm"], tmp_path / "stopped")
    monkeypatch.undo()
    with steps() as every:
        train(clicks, ["fm"], tmp_path / "again")
    assert len(taken) == len(every), "no step is repeated"
    assert results(tmp_path / "stopped") == results(tmp_path / "whole")


BETWEEN: dict[str, Callable[[Dataset, Path], None]] = {
    "training": lambda dataset, output: train(dataset, ["fm"], output),
    "short training": lambda dataset, output: search(dataset, "autopi, one shot", output),
    "gates": lambda dataset, output: search(dataset, "autofis", output),
    "optinter": lambda dataset, output: search(dataset, "optinter", output),
    "autopi": lambda dataset, output: search(dataset, "autopi", output),
}


@pytest.mark.parametrize("work", BETWEEN.values(), ids=BETWEEN.keys())
def test_signal_between_passes_saves_a_checkpoint(
    work: Callable[[Dataset, Path], None], clicks: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with steps() as whole:
        work(clicks, tmp_path / "whole")
    monkeypatch.setattr(loop, "SPACING", 1e9)
    monkeypatch.setattr(state, "signal", 0)
    for epoch in (1, 2):
        with steps() as before, signal_after_pass(epoch), pytest.raises(Stopped):
            work(clicks, tmp_path / str(epoch))
        monkeypatch.setattr(state, "signal", 0)
        with steps() as after:
            work(clicks, tmp_path / str(epoch))
        assert len(before) + len(after) == len(whole), "no step is repeated"
        assert results(tmp_path / str(epoch)) == results(tmp_path / "whole")


@contextmanager
def signal_after_pass(number: int) -> Iterator[None]:
    """SIGTERM arrives when all steps of a pass are done, before its validation."""
    after_pass, passes = Loop.steps_of_pass, list[str]()

    @contextmanager
    def signalled(self: Loop) -> Iterator[None]:
        with after_pass(self):
            yield
        passes.append(self.title)
        if len(passes) == number:
            state.receive(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "steps_of_pass", signalled)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", NEURAL)
def test_training_may_be_stopped_at_every_step(name: str, clicks: Dataset, tmp_path: Path) -> None:
    check(lambda output: train(clicks, [name], output), tmp_path, every)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
def test_search_may_be_stopped_at_every_step(name: str, clicks: Dataset, tmp_path: Path) -> None:
    check(lambda output: search(clicks, name, output), tmp_path, every)


def test_several_processes_continue_bit_for_bit(clicks: Dataset, python: str, tmp_path: Path) -> None:
    script = str(Path(__file__).with_name("stopped_cases.py"))
    command = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script]
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests.parent / "src"), str(tests)])
    done = subprocess.run(
        [*command, str(clicks.path), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for case in ("training", "search"):
        assert results(tmp_path / case / "stopped") == results(tmp_path / case / "whole")


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_commands_that_are_killed_and_stopped_continue(
    processes: int, clicks: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when there is a checkpoint; then stopped by SIGTERM; then left alone."""
    settings = {**SETTINGS, "epochs": 12, "patience": 12, "batch_size": 16}
    run = {
        "name": "resumed",
        "data": {"files": "none.csv", "columns": {"click": "label", "field_00..field_03": "categorical"}},
        "search": {"epochs": 1, "threshold": 0.3, "confirm": False, "random_draws": 0},
        "models": {"default": settings},
        "seeds": [0],
    }
    (tmp_path / "run.yaml").write_text(json.dumps(run))
    search(clicks, "autofis", tmp_path / "found")
    environment = {**os.environ, "CTRLOOM_PROCESSES": str(processes), "OMP_NUM_THREADS": "1"}

    def started(output: str) -> Popen[str]:
        command = [sys.executable, "-m", "ctrloom", "retrain", "run.yaml", "--dataset", str(clicks.path)]
        command += ["--search", "found", "--output", output]
        return Popen(command, cwd=tmp_path, env=environment, stderr=PIPE, text=True, start_new_session=True)

    def until(text: str, running: Popen[str]) -> str:
        assert running.stderr
        return next(line for line in running.stderr if text in line)

    with started("stopped") as running:
        while not list(tmp_path.glob("stopped/.runs.checkpoints/*/*/*.json")):
            assert running.poll() is None, running.communicate()
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGKILL)
    with started("stopped") as running:
        until("seed 0: ", running)  # it is done, or continues
        time.sleep(0.3)
        running.send_signal(signal.SIGTERM)
        assert "run the same command again" in until("stopped by SIGTERM", running)
    assert running.returncode == 128 + signal.SIGTERM
    assert not (tmp_path / "stopped" / "runs").exists()
    with started("stopped") as running:
        until("continues from a checkpoint", running)
        running.communicate()
    assert running.returncode == 0
    monkeypatch.setenv("CTRLOOM_PROCESSES", str(processes))
    stages.retrain(
        clicks.path, tmp_path / "found", ModelsConfig({"default": settings}), [0], tmp_path / "whole" / "runs"
    )
    assert results(tmp_path / "stopped" / "runs") == results(tmp_path / "whole" / "runs")
