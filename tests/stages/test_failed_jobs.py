"""Jobs of a comparison that fail: what is recorded, what is raised, and what the table makes of it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ctrloom.config import CompareConfig, Entry, ModelsConfig
from ctrloom.config.base import ConfigError, MachineError
from ctrloom.config.environment import CHECKPOINTS
from ctrloom.config.errors import UserError
from ctrloom.data.dataset import Dataset
from ctrloom.data.errors import DamagedDataError
from ctrloom.evaluation.failed_entries import EntriesFailedError
from ctrloom.memory import LowMemoryError
from ctrloom.stages import comparison_job, tabulate
from ctrloom.stages.comparison_job import run_job
from ctrloom.stages.feasibility import require_entry
from ctrloom.stages.job_records import FAILURE, JOB, Jobs, read_failure
from ctrloom.storage import DamagedError, StorageError
from ctrloom.training.loop import DivergedError

MODELS = ModelsConfig({"default": {"hidden": [8], "epochs": 1, "batch_size": 256, "learning_rate": 0.01}})
DIVERGES: dict[str, Any] = {"name": "x", "model": "ipnn", "settings": {"learning_rate": 1e9}}
LEARNS = {"name": "lr", "model": "lr"}


def run(dataset: Dataset, entry: dict[str, Any], folder: Path, seed: int = 0, record: bool = True) -> Path:
    parsed = Entry.parse(entry, "entry")
    assert run_job(dataset.path, parsed, seed, MODELS, folder, record_failure=record)
    return folder


def test_a_training_that_diverges_is_recorded(mixed: Dataset, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv(CHECKPOINTS, str(tmp_path / "checkpoints"))
    folder = run(mixed, DIVERGES, tmp_path / "job", seed=3)
    assert [path.name for path in folder.iterdir()] == [FAILURE]
    failure = read_failure(folder)
    assert failure
    assert (failure.entry, failure.seed) == ("x", 3)
    assert failure.reason.startswith("training diverged in epoch 1: ")
    assert not list((tmp_path / "checkpoints").rglob("*.safetensors")), "nothing is left to resume"
    with pytest.raises(DivergedError, match="training diverged in epoch 1"):
        run(mixed, DIVERGES, tmp_path / "other", record=False)


def test_a_job_with_a_recorded_failure_runs_again(mixed: Dataset, tmp_path: Path) -> None:
    folder = run(mixed, DIVERGES, tmp_path / "job")
    run(mixed, {**DIVERGES, "settings": {}}, folder, record=False)
    assert {path.name for path in folder.iterdir()} == {JOB, "runs"}
    run(mixed, DIVERGES, folder)
    assert [path.name for path in folder.iterdir()] == [FAILURE]


def test_settings_that_the_data_cannot_satisfy_are_recorded(mixed: Dataset, tmp_path: Path) -> None:
    crossed = {"name": "crossed", "search": {"method": "optinter"}}
    failure = read_failure(run(mixed, crossed, tmp_path / "job"))
    assert failure
    assert "crosses" in failure.reason


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_device_is_of_the_machine(mixed: Dataset, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="torch sees no GPU"):
        run(mixed, {**LEARNS, "settings": {"device": "cuda"}}, tmp_path / "job")
    assert not (tmp_path / "job").exists()


def test_damaged_rows_are_not_of_the_inputs(mixed: Dataset, tmp_path: Path) -> None:
    part = Path(str(mixed.directory), mixed.manifest.files["train"][0].path)
    content = part.read_bytes()
    middle = len(content) // 2
    try:
        part.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises((StorageError, DamagedDataError), match=part.name):
            run(mixed, LEARNS, tmp_path / "damaged")
        part.unlink()
        with pytest.raises(DamagedDataError, match="neither in"):
            run(mixed, LEARNS, tmp_path / "missing")
    finally:
        part.write_bytes(content)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "error",
    [
        StorageError("s3://b/x: cannot be read: all retries failed"),
        DamagedError("x: was changed or damaged"),
        DamagedDataError("x: cannot be read; rebuild the data set"),
        LowMemoryError("not enough memory"),
        OSError(28, "No space left on device"),
        MachineError("each process needs its own GPU"),
        RuntimeError("a defect"),
        UserError("of unknown origin"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_another_attempt_may_not_meet_is_raised(
    error: Exception, mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(comparison_job, "baselines", fails)
    with pytest.raises(
        type(error) if isinstance(error, UserError | RuntimeError) else StorageError
    ) as raised:
        run(mixed, LEARNS, tmp_path / "job")
    assert raised.value is error or raised.value.__cause__ is error
    assert not (tmp_path / "job").exists()


def test_the_table_is_without_recorded_failures(mixed: Dataset, tmp_path: Path) -> None:
    entries = [DIVERGES, LEARNS]
    config = CompareConfig.parse(
        {
            "name": "c",
            "data": mixed.schema.source.model_dump(mode="json", exclude_none=True) | {"files": "x.csv"},
            "seeds": [0, 1],
            "evaluation": {"base": "x", "bootstrap": 20},
            "entries": entries,
        },
        "compare.yaml",
    )
    failed = [run(mixed, DIVERGES, tmp_path / f"x-{seed}", seed) for seed in (1, 0)]
    done = [run(mixed, LEARNS, tmp_path / f"lr-{seed}", seed) for seed in (0, 1)]
    results = tabulate(mixed.path, config, [*done, *failed], tmp_path / "table")
    assert [model.name for model in results.models] == ["lr"]
    assert [*results.failed] == ["x"]
    assert results.failed["x"].startswith("seed 1: training diverged")
    page = (tmp_path / "table" / "comparison.html").read_text()
    assert "IPNN failed and is left out: seed 1: training diverged" in page
    assert Jobs.read([*done, *failed]).folders == {("lr", 0): done[0], ("lr", 1): done[1]}

    with pytest.raises(
        EntriesFailedError, match=r"all entries failed.*: x: seed 0: .*; lr: its process died"
    ):
        tabulate(mixed.path, config, failed[::-1], tmp_path / "none", failed={"lr": "its process died"})
    assert not (tmp_path / "none").exists()
    with pytest.raises(StorageError, match="entry 'x', seed 1: duplicate jobs: "):
        Jobs.read([*failed, failed[0]])


def test_a_damaged_record_of_a_failure_is_named(mixed: Dataset, tmp_path: Path) -> None:
    record = run(mixed, DIVERGES, tmp_path / "job") / FAILURE
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(DamagedError, match=str(record)):
        Jobs.read([tmp_path / "job"])


def test_errors_of_the_machine_among_others_make_one_of_the_machine(mixed: Dataset) -> None:
    both = Entry.parse(
        {"name": "b", "search": {"method": "optinter"}, "settings": {"device": "cuda"}}, "entry"
    )
    with pytest.raises(ConfigError) as raised:
        require_entry(both, mixed.schema, MODELS)
    assert raised.value.from_inputs == ("GPU" not in str(raised.value))
