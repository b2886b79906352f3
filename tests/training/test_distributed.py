"""Several processes match one: the same weights, metrics and choices; one output, one error message."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import yaml
from data_helpers import CLICKS, HEADER, clicks, data_config
from processes import fork_server
from small import LITTLE
from torch.distributed.launcher import api
from training import distributed_cases
from typer.testing import CliRunner

from ctrloom import distributed, stages
from ctrloom.architecture import Architecture
from ctrloom.cli import BY_SEVERAL, app
from ctrloom.config import SPLITS, ModelsConfig, SelectionConfig, VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.errors import UserError
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.parquet import writer
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.nn.norm import BatchNorm
from ctrloom.training import processes
from ctrloom.training.runs import open_runs

ROOT = Path(__file__).parents[2]
HERE = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(map(str, [ROOT / "src", ROOT / "tests"])),
    "OMP_NUM_THREADS": "1",
}
MODELS = ModelsConfig({"default": {**LITTLE.model_dump(), "device": "cpu"}})


def torchrun(
    processes: int, *command: str, python: str = sys.executable, **settings: Any
) -> subprocess.CompletedProcess[str]:
    start = [python, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*start, *command], env=HERE, capture_output=True, text=True, check=False, **settings
    )


def run_in(processes: int, cases: list[str], folder: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    done = torchrun(processes, distributed_cases.__file__, str(folder), *cases, **settings)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    ends = re.findall(r"epoch 2, valid AUC \S+, logloss", done.stderr)
    assert len(ends) == sum("search" not in case for case in cases), "only rank 0 reports progress"
    assert len(list(folder.glob("*.txt"))) == processes
    found: dict[str, dict[str, Any]] = json.loads((folder / "results.json").read_text())
    return found


def flat(value: Any) -> list[float]:
    if isinstance(value, list | tuple):
        return [number for part in value for number in flat(part)]
    return [float("nan") if value is None else float(value)]


def assert_same(several: Mapping[str, Any], alone: Mapping[str, Any]) -> None:
    assert several.keys() == alone.keys()
    for key in ("kept", "controls"):
        assert several.get(key) == alone.get(key)
    assert several["weights"].keys() == alone["weights"].keys()
    for name, weight in alone["weights"].items():
        np.testing.assert_allclose(several["weights"][name], weight, rtol=0, atol=1e-8, err_msg=name)
    # Logits are passed on as float32.
    np.testing.assert_allclose(flat(several["numbers"]), flat(alone["numbers"]), rtol=0, atol=3e-7)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, python: str) -> dict[str, dict[str, Any]]:
    return run_in(2, list(distributed_cases.CASES), tmp_path_factory.mktemp("two"), python=python)


@pytest.mark.parametrize("case", distributed_cases.CASES)
def test_two_processes_match_one(case: str, two: Mapping[str, Any]) -> None:
    assert_same(two[case], distributed_cases.results([case])[case])


def test_cases_give_different_results(two: Mapping[str, Any]) -> None:
    assert len({str(result["numbers"]) for result in two.values()}) == len(two)
    assert all(result["kept"] for case, result in two.items() if "search" in case)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_every_model_and_search_matches_one_process(processes: int, tmp_path: Path) -> None:
    every = run_in(processes, list(distributed_cases.MORE), tmp_path)
    for case, result in distributed_cases.results(list(distributed_cases.MORE)).items():
        assert_same(every[case], result)


@pytest.fixture
def world_of_one() -> Iterator[None]:
    """A process group of one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("affine", [True, False])
def test_distributed_batch_norm_matches_torch(affine: bool, world_of_one: None) -> None:
    ours, theirs = BatchNorm(5, affine=affine).double(), torch.nn.BatchNorm1d(5, affine=affine).double()
    x_BK = torch.randn(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.1 + 100
    results = []
    for norm in (ours, theirs):
        for _ in range(2):
            given = x_BK.clone().requires_grad_()
            (norm(given) * torch.linspace(-1, 2, 200).view(40, 5)).square().sum().backward()
        results.append([given.grad, *norm.state_dict().values(), *(p.grad for p in norm.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(ours.eval()(x_BK), theirs.eval()(x_BK))


def test_dense_and_sparse_gradients_are_summed(world_of_one: None) -> None:
    table, large = torch.nn.Parameter(torch.ones(9, 2)), torch.nn.Parameter(torch.ones(600, 500))
    small, unused = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    table.grad = torch.sparse_coo_tensor([[4, 1, 4]], torch.ones(3, 2), (9, 2), check_invariants=True)
    large.grad, small.grad = torch.full((600, 500), 2.0), torch.arange(3.0)
    distributed.all_reduce_gradients([table, large, small, unused])
    assert table.grad._indices().tolist() == [[4, 1, 4]]  # once per lookup, for the optimizer
    assert table.grad._values().tolist() == [[1, 1]] * 3
    assert torch.equal(large.grad, torch.full((600, 500), 2.0))
    assert small.grad.tolist() == [0, 1, 2]
    assert unused.grad is None


def test_single_process_models_and_searches_refuse_several(
    mixed: Dataset, world_of_one: None, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"gbdt: LightGBM runs in one process only, but there are 1"):
        stages.baselines(mixed.base, ["lr", "gbdt"], MODELS, [0], tmp_path / "runs")
    with pytest.raises(ValueError, match=r"search.method: random runs in one process only"):
        stages.search(mixed.base, SelectionConfig(method="random", keep={2: 3}), MODELS, tmp_path / "search")
    assert not list(tmp_path.iterdir())


def test_single_process_commands_are_refused_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "".join(path.read_text() for path in Path(*stages.__path__).glob("*.py"))
    shared = re.findall(r"@data_parallel\ndef (\w+)", source)
    assert set(BY_SEVERAL) == {name.removeprefix("aim_").replace("_", "-") for name in shared}
    monkeypatch.setenv("WORLD_SIZE", "2")
    for command in ("evaluate", "run", "gate", "registry"):
        result = CliRunner().invoke(app, [command])
        assert isinstance(result.exception, ConfigError)
        assert f"{command} runs in one process, but torchrun started 2" in str(result.exception)


@pytest.mark.parametrize("count", ["two", "0", "-1"])
def test_invalid_number_of_processes_is_refused(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(processes.PROCESSES, count)
    with pytest.raises(ValueError, match="CTRLOOM_PROCESSES: must be a positive number"):
        distributed_cases.dying("never")


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A data set and its damaged file, which only the second of two processes reads."""
    monkeypatch.setattr(writer, "GROUP_ROWS", 100)
    monkeypatch.setattr(writer, "PART_ROWS", 300)
    for n, split in enumerate(SPLITS):
        (tmp_path / f"{split}.csv").write_text(HEADER + clicks(800, n))
    files = {split: [str(tmp_path / f"{split}.csv")] for split in SPLITS}
    ingested = ingest(data_config(files, CLICKS), tmp_path / "store")
    manifest = build_vocabulary(ingested, VocabularyConfig(), tmp_path / "store")
    assert isinstance(manifest, Path)
    *_, last = Dataset.open(manifest).manifest.paths(manifest.parent, "train")
    assert isinstance(last, Path)
    content = bytearray(last.read_bytes())
    content[-100:] = bytes(100)  # of the same size: the first process notices another one
    last.write_bytes(content)
    return manifest, last


@pytest.fixture
def processes_start_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes of a stage from one that has imported what they need."""
    fork_server()
    config = api.LaunchConfig
    monkeypatch.setattr(api, "LaunchConfig", lambda **given: config(**given | {"start_method": "forkserver"}))


def test_read_error_in_one_process_ends_the_stage_with_its_message(
    damaged: tuple[Path, Path],
    processes_start_at_once: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(processes.PROCESSES, "2")
    manifest, _ = damaged
    with pytest.raises(UserError, match=r"Parquet.*\nprocess 1 of 2") as raised:
        stages.baselines(manifest, ["fm"], MODELS, [0], tmp_path / "out" / "runs")
    assert not raised.value.from_inputs
    assert not list((tmp_path / "out").glob("*")), "no partial output"
    assert capfd.readouterr().err == "", "nothing but the error is reported"


def test_an_error_of_a_process_keeps_whether_it_follows_from_the_inputs(
    mixed: Dataset, processes_start_at_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(processes.PROCESSES, "2")
    diverging = ModelsConfig({"default": {**LITTLE.model_dump(), "device": "cpu", "learning_rate": 1e9}})
    with pytest.raises(UserError, match="training diverged in epoch 1") as raised:
        stages.baselines(mixed.path, ["ipnn"], diverging, [0], tmp_path / "runs")
    assert raised.value.from_inputs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "raised", "message"),
    [
        ("killed", ValueError, "another process of this training died without an error message"),
        ("wrong", ChildProcessError, r"one of 2 processes failed: see its error above \(status 1\)"),
    ],
)
def test_dead_process_ends_all(
    how: str,
    raised: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(processes.PROCESSES, "2")
    with pytest.raises(raised, match=message):
        distributed_cases.dying(how)
    assert capfd.readouterr().err.count("Traceback") == (how == "wrong")


@pytest.mark.slow
def test_commands_write_the_same_under_torchrun(mixed: Dataset, tmp_path: Path) -> None:
    config = {
        "name": "several",
        "data": {"files": "none.csv", "columns": {"click": "label", "user": "categorical"}},
        "search": {"epochs": 2, "random_draws": 1, "batch_size": 100},
        "models": MODELS.model_dump(),
        "seeds": [0, 1],
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    ways = {
        "alone": lambda *command: subprocess.run(
            [sys.executable, "-m", "ctrloom", *command], env=HERE, capture_output=True, text=True, check=True
        ),
        "several": lambda *command: torchrun(2, "-m", "ctrloom", *command),
    }
    for way, run in ways.items():
        folder, given = tmp_path / way, [str(tmp_path / "run.yaml"), f"--dataset={mixed.base}"]
        for command in ("search", "retrain"):
            more = [] if command == "search" else [f"--search={folder / 'search'}"]
            done = run(command, *given, *more, f"--output={folder / command}")
            assert done.returncode == 0, done.stderr
            assert done.stdout.count(str(folder / command)) == 1, "only rank 0 reports"
    wrong = ways["several"]("search", *given[:1], "--dataset=nowhere", f"--output={tmp_path / 'wrong'}")
    assert wrong.returncode
    assert wrong.stderr.count("ctrloom: nowhere") == 1
    assert not (tmp_path / "wrong").exists()
    one, two = (tmp_path / way for way in ways)
    assert sorted(p.relative_to(one) for p in one.rglob("*")) == sorted(
        p.relative_to(two) for p in two.rglob("*")
    )
    found, again = (Architecture.load(way / "search" / "architecture.json") for way in (one, two))
    assert found.fingerprint == again.fingerprint
    for ours, theirs in zip(*(open_runs(way / "retrain" / "runs") for way in (one, two)), strict=True):
        assert (ours.record.processes, theirs.record.processes) == (1, 2)
        for seed, same in zip(ours.record.seeds, theirs.record.seeds, strict=True):
            reached, likewise = seed.history.best_epoch, same.history.best_epoch
            assert reached.valid_auc == pytest.approx(likewise.valid_auc, abs=2e-4)
            assert reached.valid_logloss == pytest.approx(likewise.valid_logloss, abs=2e-4)
