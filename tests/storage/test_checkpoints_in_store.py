"""Checkpoints in a store: a stage that was stopped continues on another machine."""

from pathlib import Path
from typing import Any

import pytest

from ctrloom import storage
from ctrloom.config.environment import CHECKPOINTS
from ctrloom.data.dataset import Dataset
from ctrloom.training.checkpoints import Loop, Variables, loop, stage, stage_checkpoints
from ctrloom.training.checkpoints.files import Checkpoints


@pytest.fixture(autouse=True)
def _saved_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SPACING", 0.0)
    monkeypatch.setattr(stage, "SHARE", 1e9)


def counted(dataset: Dataset, output: Path, *work: Any, stop: int | None = None) -> int:
    """A stage with a loop of nine steps, each of which is saved; returns the number that it begins with."""
    with stage_checkpoints(dataset, output, *work):
        at = Variables(step=0)
        running, first = Loop("count", at=at), at.step
        assert running.files
        while at.step < 9:
            at.step += 1
            running.after_step()
            running.files.finish()
            if at.step == stop:
                raise KeyboardInterrupt
    return int(first)


def test_stopped_stage_continues_from_the_store(
    store: str, mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixed, "base", storage.place(f"{store}/encoded-1"))
    monkeypatch.setenv(CHECKPOINTS, "store")
    with pytest.raises(KeyboardInterrupt):
        counted(mixed, tmp_path / "one" / "out", stop=4)
    place = storage.place(f"{store}/checkpoints")
    (name,) = storage.folders(place)
    assert len(storage.files(place / name / storage.folders(place / name)[0])) == 4, "two checkpoints"
    assert not list(tmp_path.glob("one/*")), "nothing is on this machine"
    monkeypatch.setattr(stage, "OLD", -60.0)
    with pytest.raises(KeyboardInterrupt):
        counted(mixed, tmp_path / "other" / "out", "other work", stop=4)
    assert counted(mixed, tmp_path / "other" / "out") == 4
    assert not storage.folders(place), "its own and old ones are deleted"


def test_last_upload_is_complete_at_the_end_of_a_stage(store: str, tmp_path: Path) -> None:
    place = storage.place(f"{store}/loop")
    written = Checkpoints(place)
    for number in (1, 2, 3):
        written.save({"number": number})
    written.finish()
    assert not written.busy
    assert Checkpoints(place).load() == {"number": 3}
    assert storage.files(place) == ["2.json", "2.safetensors", "3.json", "3.safetensors"]
    damaged = place / "3.safetensors"
    storage.write_text(damaged, "damaged")
    assert Checkpoints(place).load() == {"number": 2}


def test_store_that_fails_does_not_end_training(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(file: Path, to: object) -> None:
        raise storage.StorageError(f"{to}: cannot be written: access denied")

    monkeypatch.setenv(CHECKPOINTS, "gs://none/there")
    monkeypatch.setattr(storage, "files", lambda place: [])
    monkeypatch.setattr(storage, "put", fails)
    monkeypatch.setattr(storage, "remove", lambda place: None)
    monkeypatch.setattr(storage, "folders", lambda place: [])
    with stage_checkpoints(mixed, tmp_path / "out"):
        running = Loop("count", at=Variables(step=0))
        running.after_step()
        running.after_step()
        running.finish("at")
    (line,) = capsys.readouterr().err.splitlines()
    assert "no more checkpoints, a stopped stage starts over: gs://none/there" in line
