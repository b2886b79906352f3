import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import LITTLE

from ctrloom import storage
from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import ModelsConfig, shared_draws
from ctrloom.data.dataset import Dataset
from ctrloom.models import build
from ctrloom.models.bundle import load_bundle
from ctrloom.schema import SchemaMismatchError
from ctrloom.training.loop import fit, score, seed_everything
from ctrloom.training.plans import Plan, train_runs
from ctrloom.training.runs import RunRecord, open_by_name, open_runs, seeds_of

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


def trained_with(dataset: Dataset, count: int, seeds: Sequence[int], folder: Path, **of: Any) -> list[Any]:
    """Seed, draw, number of the architecture and epochs of each training of a plan."""
    names = dataset.schema.names
    draws = [
        Architecture(method="random", fields=names, interactions=(Interaction(fields=(names[0], other)),))
        for other in names[1 : count + 1]
    ]
    models = MODELS.override("default", {"epochs": 1})
    train_runs(dataset, [plan(dataset, "random", "autofm", draws)], models, seeds, folder, **of)
    (run,) = open_runs(folder)
    at = {architecture.fingerprint: number for number, architecture in enumerate(draws)}
    records = zip(run.record.seeds, run.trained(dataset), strict=True)
    return [(r.seed, r.draw, at[t.architecture.fingerprint], r.history.epochs) for r, t in records]


@pytest.mark.parametrize(
    ("count", "seeds", "expected"),
    [
        (3, [5, 6], [(5, 0), (5, 2), (6, 1)]),  # fewer seeds than draws: all draws are trained
        (3, [4], [(4, 0), (4, 1), (4, 2)]),
        (2, [5, 6, 7], [(5, 0), (6, 1), (7, 0)]),  # fewer draws: all seeds are
        (1, [5, 6], [(5, None), (6, None)]),
    ],
)
def test_seeds_share_the_draws_of_a_control(
    mixed: Dataset, tmp_path: Path, count: int, seeds: list[int], expected: list[tuple[int, int | None]]
) -> None:
    together = trained_with(mixed, count, seeds, tmp_path / "together")
    assert [(seed, draw) for seed, draw, *_ in together] == expected
    assert all(number == (draw or 0) for _, draw, number, _ in together)
    apart = [trained_with(mixed, count, [s], tmp_path / f"apart-{s}", of=seeds) for s in seeds]
    assert [training for some in apart for training in some] == together
    folders = {f"seed-{s}" if d is None else f"seed-{s}-draw-{d}" for s, d in expected}
    assert {path.name for path in (tmp_path / "together" / "random").iterdir()} == {*folders, "run.json"}
    (runs,) = open_by_name([tmp_path / f"apart-{s}" for s in seeds]).values()
    assert seeds_of({"random": runs}) == {"random": seeds}


@given(seeds=st.integers(1, 12), draws=st.integers(1, 12))
def test_all_draws_and_all_seeds_are_trained_and_none_more_than_needed(seeds: int, draws: int) -> None:
    shares = [shared_draws(place, seeds, draws) for place in range(seeds)]
    assert all(shares)
    assert {draw for share in shares for draw in share} == set(range(draws))
    assert sum(map(len, shares)) == max(seeds, draws)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


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
