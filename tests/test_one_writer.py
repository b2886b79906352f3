"""Every command that writes a folder or file leaves it alone while another process writes there."""

import json
import os
import platform
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ctrloom.cli import app
from ctrloom.storage import LockedError

FOLDER, OUTPUT = "{}/.lock", ".{}.lock"
COMMANDS = {
    "run": (["run", "run.yaml"], FOLDER),
    "compare": (["compare", "compare.yaml"], FOLDER),
    "compare --pipeline": (["compare", "compare.yaml", "--pipeline"], FOLDER),
    "tune": (["tune", "run.yaml", "--dataset", "none"], FOLDER),
    "tune --pipeline": (["tune", "run.yaml", "--pipeline"], FOLDER),
    "regression": (["regression", "compare.yaml", "--baseline", "new.json", "--accept"], FOLDER),
    "scheduled-retrain": (["scheduled-retrain", "retrain.yaml", "--until", "2026-01-03"], FOLDER),
    "batch-predict": (["batch-predict", "batch.yaml"], FOLDER),
    "search": (["search", "run.yaml", "--dataset", "none"], OUTPUT),
    "retrain": (["retrain", "run.yaml", "--dataset", "none", "--search", "found"], FOLDER),
    "transfer": (["transfer", "run.yaml", "--dataset", "none", "--search", "found"], FOLDER),
    "baselines": (["baselines", "run.yaml", "--dataset", "none"], FOLDER),
    "refresh": (["refresh", "retrain.yaml", "--dataset", "none", "--champion", "champion"], FOLDER),
    "evaluate": (["evaluate", "run.yaml", "--dataset", "none", "--search", "found", "--runs", "x"], OUTPUT),
}
COLUMNS = {"click": "label", "user": "categorical", "item": "categorical", "time": "timestamp"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data = {"files": "clicks-{date}.csv", "columns": COLUMNS}
    (tmp_path / "clicks-2026-01-03.csv").write_text("click,user,item,time\n")
    one = {"name": "one", "model": "lr"}
    texts = {
        "run": {"name": "a", "data": data},
        "compare": {"name": "a", "data": data, "entries": [one], "evaluation": {"base": "one"}},
        "batch": {"name": "a", "files": "clicks-2026-01-03.csv", "bundle": "bundle"},
        "retrain": {"name": "a", "data": {**data, "split": {"by": "time"}}, "registry": "registry"},
    }
    for name, config in texts.items():
        (tmp_path / f"{name}.yaml").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_leaves_the_folder_of_another_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    arguments, where = COMMANDS[name]
    (folder / "out").mkdir()
    (folder / "out" / "metrics.json").write_text("of the other")
    file = folder / where.format("out")
    owner = {"pid": 7, "host": "elsewhere", "since": "2026-01-01 00:00:00 UTC", "boot": "another"}
    file.write_text(json.dumps(owner))
    before = sorted(folder.rglob("*"))
    done = CliRunner().invoke(app, [*arguments, "--output", "out"])
    assert isinstance(done.exception, LockedError), done.output
    assert "process 7 on host elsewhere has been writing here since 2026-01-01" in str(done.exception)
    assert sorted(folder.rglob("*")) == before
    assert (folder / "out" / "metrics.json").read_text() == "of the other"


def test_results_are_those_of_the_run_itself(
    mixed_folder: Path, run_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """While the pipeline runs and its summary is printed, the lock is held, and then it is released."""
    from ctrloom.cli import results
    from ctrloom.runners import local

    seen: list[str] = []

    def note(*_: object, **__: object) -> None:
        owner = json.loads((tmp_path / "out" / ".lock").read_text())
        seen.append(f"{owner['pid']} on {owner['host']}")

    monkeypatch.setattr(local, "run_pipeline", note)
    monkeypatch.setattr(results, "summarise", note)
    done = CliRunner().invoke(app, ["run", str(run_file), "--output", str(tmp_path / "out")])
    assert done.exception is None, done.output
    assert seen == [f"{os.getpid()} on {platform.node()}"] * 2
    assert os.listdir(tmp_path / "out") == ["config.json"]
