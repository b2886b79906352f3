"""Damaged bundles and trainings are errors that name the file; never other probabilities."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import undetected
from safetensors.torch import load_file, save_file
from small import LITTLE, edit_json, made_older

from ctrloom import storage
from ctrloom.architecture import Architecture
from ctrloom.config import ModelsConfig
from ctrloom.config.errors import UserError
from ctrloom.data.dataset import Dataset
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import read_rows
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.models.bundle import load_bundle
from ctrloom.serving.predict import logits, predict
from ctrloom.serving.registry import Registry
from ctrloom.stages.promotion import promote
from ctrloom.training.loop import score
from ctrloom.training.plans import Plan, train_runs
from ctrloom.training.runs import open_runs


@pytest.fixture(scope="module")
def trained(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs` of two models, and `bundle`, of the second."""
    folder = tmp_path_factory.mktemp("trained")
    every = Architecture.complete(mixed.schema.names, (2, 3))
    hyper = ModelsConfig({"default": {**LITTLE.model_dump(), "epochs": 1, "batch_norm": True}})
    plans = [Plan(name, name, "baseline", name, (every,)) for name in ("lr", "autodeepfm")]
    train_runs(mixed, plans, hyper, [4, 5], folder / "runs")
    open_runs(folder / "runs")[0].export(mixed, folder / "bundle")
    return folder


@pytest.fixture
def bundle(trained: Path, tmp_path: Path) -> Path:
    """A copy of the bundle."""
    return Path(shutil.copytree(trained / "bundle", tmp_path / "bundle"))


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A copy of the runs."""
    return Path(shutil.copytree(trained / "runs", tmp_path / "runs"))


def test_flipped_bytes_of_a_bundle(bundle: Path, mixed_folder: Path) -> None:
    source = load_bundle(bundle).schema.source
    (rows,) = read_rows(source, [str(mixed_folder / "test.csv")], with_label=False)

    def read() -> object:
        loaded = load_bundle(bundle)
        return loaded.card.title, logits(loaded, Encoder.load(bundle), rows.dictionary_rows).tobytes()

    assert undetected(read, bundle, 60) < 60  # blanks between the values of JSON


def test_flipped_bytes_of_trainings(runs: Path, mixed: Dataset) -> None:
    test = mixed.rows("test")

    def read() -> object:
        return [
            (run.record.title, run.record.best, trained.seed, score(trained.model, test).tobytes())
            for run in open_runs(runs)
            for trained in run.trained(mixed)
        ]

    assert undetected(read, runs, 40) < 60


def replaced(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    """Replace a tensor of the weights, and what the model card says of them."""

    def damage(bundle: Path) -> None:
        path = bundle / "model.safetensors"
        tensors = load_file(path)
        found = next(each for each in tensors if each.endswith(name))
        save_file({**tensors, found: change(tensors[found])}, path)
        made_older(bundle)

    return damage


def without(name: str) -> Callable[[Path], None]:
    def damage(bundle: Path) -> None:
        path = bundle / "model.safetensors"
        tensors = load_file(path)
        tensors.pop(next(each for each in tensors if each.endswith(name)))
        save_file(tensors, path)
        made_older(bundle)

    return damage


def with_one(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[-1] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (replaced("weight", with_one(float("nan"))), "weight has a weight that is not finite; train"),
        (replaced("weight", with_one(float("-inf"))), "weight has a weight that is not finite; train"),
        (replaced("weight", torch.Tensor.double), "is torch.float64 instead of torch.float32"),
        (replaced("weight", torch.Tensor.half), "is torch.float16 instead of torch.float32"),
        (replaced("num_batches_tracked", torch.Tensor.int), "is torch.int32 instead of torch.int64"),
        (replaced("weight", lambda tensor: tensor[:-1].clone()), "size mismatch"),
        (without("weight"), "Missing key"),
        (lambda b: (b / "vocabulary" / "more.parquet").write_bytes(b""), "more.parquet: is not one of"),
        (lambda b: (b / "notes.txt").write_text("x"), "is not one of the files that model.json lists"),
        (lambda b: (b / "reference.json").unlink(), r"reference\.json: is missing, but model\.json lists it"),
        (lambda b: (b / "architecture.json").write_bytes(b""), "architecture.json: was changed .* 0 bytes"),
        (lambda b: edit_json(b / "model.json", lambda c: c.update(version=9)), "model.json: was changed"),
        (lambda b: edit_json(made_older(b) / "model.json", lambda c: c.update(version=9)), "newer ctrloom"),
        (lambda b: edit_json(b / "schema.json", lambda s: s.update(version=1)), "schema.json: was changed"),
    ],
)  # fmt: skip
def test_a_damaged_bundle_is_an_error_that_names_the_file(
    bundle: Path, mixed_folder: Path, damage: Callable[[Path], Any], message: str
) -> None:
    damage(bundle)
    with pytest.raises(UserError, match=message) as raised:
        predict(bundle, [str(mixed_folder / "test.csv")], bundle.parent / "p.parquet")
    assert str(bundle) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (bundle.parent / "p.parquet").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda schema: schema.update(negatives_kept=0.01),
        lambda schema: schema["source"].update(missing_values=["", "u1"]),
        lambda schema: schema["source"].update(header=False),
        lambda schema: schema["source"]["columns"].reverse(),
    ],
)
def test_a_schema_that_reads_rows_differently_does_not_fit_the_model(
    bundle: Path, change: Callable[[Any], object]
) -> None:
    load_bundle(made_older(bundle))
    edit_json(bundle / "schema.json", change)
    with pytest.raises(storage.StorageError, match=r"schema\.json: was changed after the model was trained"):
        load_bundle(bundle)


def test_a_damaged_bundle_is_not_promoted(bundle: Path, tmp_path: Path) -> None:
    weights = bundle / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(storage.DamagedError, match=r"model\.safetensors: was changed or damaged"):
        promote(str(tmp_path / "registry"), bundle)
    assert Registry(tmp_path / "registry").versions() == []


def test_a_damaged_vocabulary_of_the_data_is_not_bundled(runs: Path, mixed: Dataset, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(mixed.base, tmp_path / "data"))  # type: ignore[arg-type]
    path = copy / "vocabulary" / "user.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    moved = Dataset(mixed.manifest, copy, mixed.schema)
    with pytest.raises(storage.DamagedError, match=rf"{path}: was changed or damaged"):
        open_runs(runs)[0].export(moved, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "lr/seed-4/model.safetensors").write_bytes(b"x" * 9), "it has 9 bytes instead of"),
        (lambda f: (f / "lr/seed-5/model.safetensors").unlink(), "is missing, but run.json lists it"),
        (lambda f: (f / "lr/seed-4/architecture.json").unlink(), "is missing, but run.json lists it"),
        (lambda f: (f / "lr/seed-4/more").write_text(""), "is not one of the files that run.json lists"),
        (lambda f: (f / "lr/run.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "lr/run.json").unlink(), r"lr/run\.json: missing; train it again"),
        (lambda f: (f / "runs.json").unlink(), r"runs\.json: cannot be read"),
        (lambda f: (f / "runs.json").write_bytes(b"\xff"), r"runs\.json: is not JSON: 'utf-8' codec"),
        (lambda f: shutil.copytree(f / "lr", f / "more"), r"more: is not a run that runs\.json lists"),
    ],
)  # fmt: skip
def test_damaged_trainings_are_errors_that_name_the_file(
    mixed: Dataset, runs: Path, damage: Callable[[Path], Any], message: str
) -> None:
    damage(runs)
    with pytest.raises(storage.StorageError, match=f"{runs}.*{message}"):
        [list(run.trained(mixed)) for run in open_runs(runs)]


def test_trainings_of_an_older_version_load(mixed: Dataset, runs: Path) -> None:
    made_older(runs)
    (runs / "runs.json").unlink()
    assert [len(list(run.trained(mixed))) for run in open_runs(runs)] == [2, 2]


def truncate(bundle: Path) -> None:
    path = bundle / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def change(file: str, edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    return lambda bundle: edit_json(bundle / file, edit)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            change("schema.json", lambda s: s["fields"][0].update(size=99)),
            storage.StorageError,
            r"schema\.json: was changed",
        ),
        (
            change("schema.json", lambda s: s["fields"].reverse()),
            storage.StorageError,
            r"schema\.json: was changed",
        ),
        (
            lambda b: (b / "vocabulary/user.parquet").unlink(),
            DataError,
            "vocabulary of field 'user' cannot be read",
        ),
        (
            lambda b: shutil.copy(b / "vocabulary/tags.parquet", b / "vocabulary/user.parquet"),
            DataError,
            "vocabulary of field 'user' is not the one",
        ),
        (truncate, storage.StorageError, r"model\.safetensors: does not contain the weights"),
        (
            lambda b: (b / "model.safetensors").write_bytes(b""),
            storage.StorageError,
            r"model\.safetensors: does not contain",
        ),
        (
            lambda b: (b / "model.safetensors").unlink(),
            storage.StorageError,
            r"model\.safetensors: no such file",
        ),
        (lambda b: (b / "model.json").unlink(), storage.StorageError, r"model\.json: cannot be read"),
        (
            lambda b: (b / "architecture.json").write_text("[1"),
            storage.StorageError,
            r"architecture\.json: is not JSON",
        ),
        (
            change("model.json", lambda m: m.update(model="autofm")),
            storage.StorageError,
            "does not contain the weights",
        ),
        (
            change("model.json", lambda m: m.update(modle="fm")),
            ValueError,
            r"model\.json: modle: unknown key",
        ),
        (
            change("architecture.json", lambda a: a["interactions"].pop()),
            storage.StorageError,
            r"architecture\.json: was changed after the model was trained",
        ),
    ],
)
def test_damage_that_needs_no_checksum_to_be_found(
    bundle: Path,
    mixed_folder: Path,
    tmp_path: Path,
    damage: Callable[[Path], object],
    error: type[Exception],
    message: str,
) -> None:
    copy = made_older(bundle)
    damage(copy)
    with pytest.raises(error, match=message) as raised:
        predict(copy, [str(mixed_folder / "test.csv")], tmp_path / "p.parquet")
    assert str(copy) in str(raised.value)
    assert not (tmp_path / "p.parquet").exists()
