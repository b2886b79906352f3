import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from small import LITTLE

from ctrloom import storage
from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import ModelsConfig
from ctrloom.data.dataset import Dataset
from ctrloom.models import build
from ctrloom.models.bundle import load_bundle
from ctrloom.schema import SchemaMismatchError
from ctrloom.training.loop import fit, score, seed_everything
from ctrloom.training.runs import Plan, RunRecord, open_by_name, open_runs, train_runs

MODELS = ModelsConfig({"default": LITTLE.model_dump()})


def plan(
    dataset: Dataset, name: str = "fm", model: str = "fm", architectures: Sequence[Architecture] = ()
) -> Plan:
    every = Architecture.complete(dataset.schema.names)
    return Plan(name, name.upper(), "baseline", model, architectures or (every,))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def runs(mixed: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "retrain"
    train_runs(mixed, [plan(mixed), plan(mixed, "gated", "autodeepfm")], MODELS, [0, 3], folder)
    return folder


def test_runs_round_trip(mixed: Dataset, runs: Path) -> None:
    opened = open_runs(runs)
    assert [run.record.name for run in opened] == ["fm", "gated"]
    for run in opened:
        assert [t.seed for t in run.trained(mixed)] == [0, 3]
        assert run.record.data_fingerprint == mixed.data_fingerprint
        assert run.record.schema_fingerprint == mixed.schema.fingerprint
        for trained in run.trained(mixed):
            seed_everything(trained.seed)
            model = build(run.record.model, trained.architecture, mixed.schema, run.record.hyperparameters)
            assert run.record.parameters == sum(p.numel() for p in model.parameters())
            history = fit(model, mixed.rows("train"), mixed.rows("valid"), LITTLE, trained.seed, "again")
            assert history.epochs == trained.history.epochs
            expected = model.state_dict()
            assert all(torch.equal(expected[k], v) for k, v in trained.model.state_dict().items())


def test_the_exported_seed_is_the_best_on_validation_rows(mixed: Dataset, runs: Path, tmp_path: Path) -> None:
    for run in open_runs(runs):
        aucs = {record.seed: record.history.best_epoch.valid_auc for record in run.record.seeds}
        run.export(mixed, tmp_path / "bundle")
        bundle = load_bundle(tmp_path / "bundle")
        assert aucs[bundle.card.seed] == max(aucs.values())
        (trained,) = [t for t in run.trained(mixed) if t.seed == bundle.card.seed]
        rows = mixed.rows("test")
        assert np.array_equal(score(bundle.model, rows), score(trained.model, rows))


def test_architecture_of_a_seed_does_not_depend_on_other_seeds(mixed: Dataset, tmp_path: Path) -> None:
    names = mixed.schema.names
    draws = [
        Architecture(method="random", fields=names, interactions=(Interaction(fields=(names[0], other)),))
        for other in names[1:3]
    ]
    found = []
    for number, seeds in enumerate(([5, 6, 7], [6])):
        folder = tmp_path / str(number)
        train_runs(mixed, [plan(mixed, "random", "autofm", draws)], MODELS, seeds, folder)
        (run,) = open_runs(folder)
        found.append({trained.seed: trained.architecture for trained in run.trained(mixed)})
    assert found[0] == {5: draws[1], 6: draws[0], 7: draws[1]}
    assert found[1] == {6: draws[0]}


def test_empty_runs_folder_is_kept_and_missing_run_is_an_error(mixed: Dataset, tmp_path: Path) -> None:
    train_runs(mixed, [], MODELS, [0], tmp_path / "none")
    assert open_runs(tmp_path / "none") == []
    assert [path.name for path in (tmp_path / "none").iterdir()] == ["runs.json"]
    train_runs(mixed, [plan(mixed, "lr", "lr"), plan(mixed)], MODELS, [0], tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "fm")
    with pytest.raises(storage.StorageError, match=r"fm/run\.json: missing"):
        open_runs(tmp_path / "two")


def test_settings_of_one_model_override_the_default(mixed: Dataset, tmp_path: Path) -> None:
    models = MODELS.override("default", {"epochs": 1}).override("fm", {"embedding_size": 2})
    train_runs(mixed, [plan(mixed), plan(mixed, "lr", "lr")], models, [0], tmp_path / "runs")
    fm, lr = (run.record.hyperparameters for run in open_runs(tmp_path / "runs"))
    assert (fm.embedding_size, lr.embedding_size, fm.epochs, lr.epochs) == (2, 4, 1, 1)


def test_training_does_not_read_the_test_split(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    rows = Dataset.rows
    monkeypatch.setattr(Dataset, "rows", lambda *given: asked.append(given[1]) or rows(*given))
    train_runs(mixed, [plan(mixed, "lr", "lr")], MODELS, [0], tmp_path / "runs")
    assert set(asked) == {"train", "valid"}


class Interrupted(Sequence[Architecture]):
    """A sequence of architectures whose second item raises."""

    def __init__(self, first: Architecture, error: BaseException) -> None:
        self.first, self.error = first, error

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if index == 1:
            raise self.error
        return self.first


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_interrupted_training_leaves_no_files(mixed: Dataset, tmp_path: Path, error: BaseException) -> None:
    broken = plan(mixed, architectures=Interrupted(Architecture.complete(mixed.schema.names), error))
    with pytest.raises(type(error)):
        train_runs(mixed, [broken], MODELS, [0, 1], tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_interrupted_training_keeps_the_old_runs(mixed: Dataset, tmp_path: Path) -> None:
    train_runs(mixed, [plan(mixed, "lr", "lr")], MODELS, [0], tmp_path / "runs")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    every = Architecture.complete(mixed.schema.names)
    broken = plan(mixed, architectures=Interrupted(every, RuntimeError("out of memory")))
    with pytest.raises(RuntimeError):
        train_runs(mixed, [broken], MODELS, [0, 1], tmp_path / "runs")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(storage.StorageError, match=r"runs\.json: cannot be read"):
        open_runs(tmp_path)
    with pytest.raises(storage.StorageError, match="no such folder"):
        open_runs(tmp_path / "nowhere")


def test_runs_of_another_data_set_are_refused(mixed: Dataset, runs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(runs, tmp_path / "runs")
    record = storage.read_record(folder / "fm" / "run.json", RunRecord)
    other = record.model_copy(update={"data_fingerprint": "of another split"})
    storage.write_record(folder / "fm" / "run.json", other)
    fm = next(run for run in open_runs(folder) if run.record.name == "fm")
    with pytest.raises(SchemaMismatchError, match="rows or split differ"):
        list(fm.trained(mixed))


def test_duplicate_seed_is_an_error(runs: Path) -> None:
    assert {len(same) for same in open_by_name([runs]).values()} == {1}
    with pytest.raises(ValueError, match=r"two runs are named .*both have seed"):
        open_by_name([runs, runs])
