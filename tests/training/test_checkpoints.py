"""Files of checkpoints: what is saved is loaded, what is damaged is not, and how much time they may take."""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from ctrloom import storage
from ctrloom.config.environment import CHECKPOINTS
from ctrloom.data.dataset import Dataset
from ctrloom.optim.grda import GRDA
from ctrloom.optim.rates import hold_rates, restore, set_rate
from ctrloom.optim.row_wise import RowWise
from ctrloom.training.checkpoints import Loop, Stopwatch, Variables, loop, stage, stage_checkpoints
from ctrloom.training.checkpoints.files import CheckpointRecord, Checkpoints
from ctrloom.training.checkpoints.stage import StageCheckpoints, current
from ctrloom.training.checkpoints.state import TYPES, as_safetensors, decoded, encoded
from ctrloom.training.history import Epoch

PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats()
KEYS = st.integers() | st.text(max_size=3)
STATES = st.recursive(
    PLAIN, lambda of: st.lists(of) | st.tuples(of, of) | st.dictionaries(KEYS, of), max_leaves=8
)


def same(one: Any, other: Any) -> bool:
    """Equal values of equal types, NaN included."""
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and one == other


@given(STATES)
def test_states_keep_values_and_types(state: Any) -> None:
    tree, tensors = encoded(state)
    text = storage.as_json(tree)
    assert same(decoded(storage.parse_json(text.encode(), "test"), tensors), state)


def test_other_types_are_rejected() -> None:
    with pytest.raises(TypeError, match="cannot contain a set"):
        encoded({"a": [{1}]})


def tensors_of(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes: list[tuple[int, ...]] = [(), (0, 3), (7,), (300, 100)]
    return {
        f"{dtype} {shape}": torch.randint(0, 2, shape, generator=generator).to(dtype)
        for dtype in TYPES
        for shape in shapes
    } | {"transposed": torch.arange(6.0).view(2, 3).T, "number": torch.tensor(math.pi)}


def test_files_have_the_format_of_safetensors(tmp_path: Path) -> None:
    tensors = tensors_of(0)
    (tmp_path / "file").write_bytes(b"".join(as_safetensors(tensors)))
    loaded = load_file(tmp_path / "file")
    assert loaded.keys() == tensors.keys()
    assert all(same(loaded[name], tensor) for name, tensor in tensors.items())


def state_of(number: int) -> dict[str, Any]:
    epoch = Epoch(epoch=number, train_logloss=0.5, valid_auc=0.75, valid_logloss=0.25)
    return {"number": number, "epochs": [epoch], "tensors": tensors_of(number), "rng": {"state": 2**100}}


def numbered(folder: Path) -> dict[int, list[str]]:
    names = [path.name for path in sorted(folder.iterdir())]
    return {int(name.partition(".")[0]): [n for n in names if n.startswith(name[:2])] for name in names}


def test_the_last_of_two_checkpoints_is_loaded(tmp_path: Path) -> None:
    written = Checkpoints(tmp_path / "loop")
    assert written.load() is None
    for number in (1, 2, 3):
        written.save(state_of(number))
    assert list(numbered(tmp_path / "loop")) == [2, 3]
    read = Checkpoints(tmp_path / "loop")
    loaded = read.load()
    assert loaded["number"] == 3
    assert same(loaded["tensors"], tensors_of(3))
    assert loaded["rng"] == {"state": 2**100}
    read.save(state_of(4))
    assert list(numbered(tmp_path / "loop")) == [3, 4]
    read.save(state_of(5), keep=1)
    assert list(numbered(tmp_path / "loop")) == [5]


def flipped(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(content)


def edit(record: Path, state: Any) -> None:
    """Write another state, with a right checksum."""
    about = storage.read_record(record, CheckpointRecord)
    storage.write_record(record, about.model_copy(update={"state": state}))


DAMAGE: dict[str, Callable[[Path], object]] = {
    **{f"tensors {n}": lambda path, n=n: flipped(path / "2.safetensors", n) for n in (0, 9, 5000, -1)},  # type: ignore[misc]
    **{f"json {n}": lambda path, n=n: flipped(path / "2.json", n) for n in range(0, 3000, 250)},  # type: ignore[misc]
    "empty": lambda path: (path / "2.json").write_bytes(b""),
    "torn": lambda path: os.truncate(path / "2.safetensors", 5000),
    "torn json": lambda path: os.truncate(path / "2.json", 500),
    "incomplete": lambda path: (path / "2.json").unlink(),
    "without tensors": lambda path: (path / "2.safetensors").unlink(),
    "of another": lambda path: (path / "2.safetensors").write_bytes((path / "1.safetensors").read_bytes()),
    "no state": lambda path: edit(path / "2.json", {"dict": [["number", {"tuple": None}]]}),
    "no such tensor": lambda path: edit(path / "2.json", {"tensor": "99"}),
    "version": lambda path: storage.write_json(path / "2.json", {"version": 2, "state": {}, "sha256": ""}),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_checkpoint_is_reported_and_the_one_before_is_used(
    damage: Callable[[Path], object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = Checkpoints(tmp_path)
    written.save(state_of(1))
    written.save(state_of(2))
    damage(tmp_path)
    read = Checkpoints(tmp_path)
    assert read.load()["number"] == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "warning: a checkpoint is incomplete or damaged, and not used" in line
    assert f"{tmp_path}/2." in line
    read.save(state_of(2))
    assert Checkpoints(tmp_path).load()["number"] == 2
    for path in tmp_path.iterdir():
        path.write_bytes(b"x")
    assert Checkpoints(tmp_path).load() is None


def test_every_flipped_byte_is_detected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Checkpoints(tmp_path).save({"a": 1, "b": torch.arange(3.0), "c": (1.5, "x")})
    for path in sorted(tmp_path.iterdir()):
        content = path.read_bytes()
        for place in range(len(content)):
            flipped(path, place)
            assert Checkpoints(tmp_path).load() is None or (path.suffix, content[place : place + 1]) in {
                (".json", b" "),
                (".json", b"\n"),
            }, f"{path.name}, byte {place}"
            path.write_bytes(content)
    assert Checkpoints(tmp_path).load() is not None


@pytest.fixture(autouse=True)
def _saved_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SPACING", 0.0)
    monkeypatch.setattr(stage, "SHARE", 1e9)


def counted(dataset: Dataset, output: Path, steps: int, *work: Any, stop: int | None = None) -> int:
    """A stage with a loop of some steps; returns the number that it begins with."""
    with stage_checkpoints(dataset, output, *work):
        at = Variables(step=0)
        running, first = Loop("count", at=at), at.step
        for number in range(first, steps):
            at.step += 1
            running.after_step()
            if number + 1 == stop:
                raise KeyboardInterrupt
    return int(first)


def interrupted(*args: Any, **kwargs: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        counted(*args, **kwargs)


def test_only_the_same_work_continues(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(mixed, tmp_path / "out", 9, {"epochs": 9}, stop=4)
    assert counted(mixed, tmp_path / "other", 9, {"epochs": 9}) == 0
    interrupted(mixed, tmp_path / "out", 9, {"epochs": 8}, stop=1)
    with monkeypatch.context() as patch:
        patch.setattr(stage, "code_digest", lambda: "another version")
        interrupted(mixed, tmp_path / "out", 9, {"epochs": 9}, stop=1)
    with monkeypatch.context() as patch:
        patch.setattr(mixed.manifest, "__dict__", mixed.manifest.__dict__ | {"data_fingerprint": "other"})
        interrupted(mixed, tmp_path / "out", 9, {"epochs": 9}, stop=1)
    assert counted(mixed, tmp_path / "out", 9, {"epochs": 9}) == 4
    assert counted(mixed, tmp_path / "out", 9, {"epochs": 9}) == 0


def test_checkpoints_are_deleted_on_success(mixed: Dataset, tmp_path: Path) -> None:
    interrupted(mixed, tmp_path / "out", 9, stop=4)
    assert [path.name for path in tmp_path.iterdir()] == [".out.checkpoints"]
    counted(mixed, tmp_path / "out", 9)
    assert not list(tmp_path.iterdir())
    assert current() is None


def test_old_checkpoints_of_others_are_deleted(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHECKPOINTS, str(tmp_path / "shared"))
    interrupted(mixed, tmp_path / "out", 9, "old", stop=4)
    for path in (tmp_path / "shared").rglob("*"):
        os.utime(path, (0, time.time() - stage.OLD - 9))
    interrupted(mixed, tmp_path / "out", 9, "new", stop=4)
    counted(mixed, tmp_path / "out", 9, "mine")
    (left,) = (tmp_path / "shared").iterdir()
    assert counted(mixed, tmp_path / "out", 9, "new") == 4
    assert not left.exists()


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("output", "{0}/.out.checkpoints"),
        ("store", "{1}/checkpoints"),
        ("{0}/there", "{0}/there"),
        ("off", ""),
    ],
)
def test_variable_gives_the_place(
    value: str, place: str, mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tmp_path, mixed.directory.parent
    monkeypatch.setenv(CHECKPOINTS, value.format(*names))
    with stage_checkpoints(mixed, tmp_path / "out"):
        kept = current()
        assert (str(kept.place.parent) if kept else "") == place.format(*names)


def test_a_stage_within_another_keeps_its_checkpoints(mixed: Dataset, tmp_path: Path) -> None:
    def job(name: str, stop: int | None) -> int:
        with stage_checkpoints(mixed, tmp_path / "job"):
            first = counted(mixed, tmp_path / name / "out", 9)
            counted(mixed, tmp_path / name / "next", 9, "next", stop=stop)
            return first

    with pytest.raises(KeyboardInterrupt):
        job("temporary", 4)
    assert (tmp_path / ".job.checkpoints").is_dir()
    assert not (tmp_path / "temporary").exists()
    assert job("another", None) == 9
    assert not list(tmp_path.iterdir())


def test_without_space_training_goes_on(
    mixed: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".out.checkpoints").write_text("not a folder")
    assert counted(mixed, tmp_path / "out", 9) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("- warning: no more checkpoints, a stopped stage starts over: ")


def test_checkpoints_take_a_small_share_of_the_time(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that steps and saves advance: saves cost 0.1 s, later 3 s."""
    clock, saved = [0.0], list[float]()
    cost = 0.1
    monkeypatch.setattr(loop, "SPACING", 30.0)
    monkeypatch.setattr(stage, "SHARE", 0.015)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def save(self: Checkpoints, state: Any, keep: int) -> None:
        clock[0] += cost
        saved.append(clock[0])

    monkeypatch.setattr(Checkpoints, "save", save)
    with stage_checkpoints(mixed, tmp_path / "out"):
        running = Loop("long", at=Variables(step=0))
        while clock[0] < 3600:
            clock[0] += 0.5
            running.after_step()
        gaps = np.diff([0.0, *saved])
        assert gaps.min() >= 30
        assert gaps.max() < 32
        cost, before = 3.0, len(saved)
        while clock[0] < 2 * 3600:
            clock[0] += 0.5
            running.after_step()
    assert len(saved) - before > 15
    assert before * 0.1 + (len(saved) - before) * 3 < 0.02 * clock[0]


def test_small_loops_save_at_their_end_within_the_same_share(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = StageCheckpoints(tmp_path)
    monkeypatch.setattr(stage, "SHARE", 0.015)
    clock = [kept.began + 10]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    assert kept.affords(0.14)
    assert not kept.affords(0.16)
    with kept.counted():
        clock[0] += 0.1
    assert kept.affords(0.05)
    assert not kept.affords(0.06)


def test_stopwatch_counts_what_a_stopped_loop_took(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def take(seconds: float) -> None:
        with stage_checkpoints(mixed, tmp_path / "out"):
            running = Loop("long", at=Variables(step=0))
            clock[0] += seconds
            running.after_step()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(70)
    stopwatch = Stopwatch()
    with stage_checkpoints(mixed, tmp_path / "out"):
        Loop("long", at=Variables(step=0))
    clock[0] += 5
    assert stopwatch.seconds == 75


def test_a_loop_with_another_state_at_its_beginning_starts_over(mixed: Dataset, tmp_path: Path) -> None:
    """Such as weights of another bundle, with the same settings."""

    def begin(weight: float, stop: bool) -> int:
        with stage_checkpoints(mixed, tmp_path / "out"):
            at = Variables(step=0)
            running, first = Loop("warm", model=Variables(weight=torch.tensor(weight)), at=at), at.step
            at.step += 1
            running.after_step()
            if stop:
                raise KeyboardInterrupt
        return int(first)

    with pytest.raises(KeyboardInterrupt):
        begin(0.5, stop=True)
    with pytest.raises(KeyboardInterrupt):
        begin(0.25, stop=True)
    assert begin(0.125, stop=False) == 0
    with pytest.raises(KeyboardInterrupt):
        begin(0.5, stop=True)
    assert begin(0.5, stop=False) == 1


def test_restored_optimizers_keep_the_tensors_of_captured_steps() -> None:
    def made() -> tuple[list[torch.nn.Parameter], RowWise, GRDA]:
        weights = [torch.nn.Parameter(torch.arange(4.0)), torch.nn.Parameter(torch.ones(3))]
        adam, grda = RowWise([weights[0]], lr=0.1, fused=True), GRDA([weights[1]], lr=0.1, c=0.5, mu=0.8)
        hold_rates(adam)
        hold_rates(grda)
        return weights, adam, grda

    def step(weights: list[torch.nn.Parameter], adam: RowWise, grda: GRDA) -> None:
        for weight in weights:
            weight.grad = weight.detach() + 1
        adam.step()
        grda.step()

    first, second = made(), made()
    step(*first)
    set_rate(first[1], 0.05)
    for one, other in zip(first[1:], second[1:], strict=True):
        held = [value for value in other.param_groups[0].values() if isinstance(value, Tensor)]
        tree, tensors = encoded(one.state_dict())
        restore(other, decoded(tree, {name: tensor.clone() for name, tensor in tensors.items()}))
        now = [value for value in other.param_groups[0].values() if isinstance(value, Tensor)]
        assert len(now) == 1
        assert held[0] is now[0]
    with torch.no_grad():
        for mine, theirs in zip(second[0], first[0], strict=True):
            mine.copy_(theirs)
    step(*first)
    step(*second)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(first[0], second[0], strict=True))
