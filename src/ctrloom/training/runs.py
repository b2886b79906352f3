"""Runs: one model trained with several seeds, and the folder that stores them.

<folder>/runs.json                             names of the runs; object stores have no empty folders
         <name>/run.json                       settings and training history
                seed-<seed>/architecture.json  architecture of the model
                seed-<seed>/model.safetensors
                seed-<seed>-draw-<number>/     in its place, if there are several architectures
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import nn

from ctrloom import storage
from ctrloom.architecture import Architecture
from ctrloom.config import ConfiguredModel
from ctrloom.config.base import StrictModel
from ctrloom.config.errors import UserError
from ctrloom.data.dataset import Dataset
from ctrloom.models import build
from ctrloom.models.bundle import WEIGHTS, Bundle, ModelCard, load_weights, save_bundle
from ctrloom.schema import Schema
from ctrloom.training.history import History, Kind, limit_of
from ctrloom.training.loop import pick_device

RECORD, INDEX = "run.json", "runs.json"


class SeedRecord(StrictModel):
    """Training history of one seed, and of one of several architectures."""

    seed: int
    draw: int | None = None  # number of the architecture; None: there is one
    history: History

    @property
    def folder(self) -> str:
        """Where the model is in the folder of its run."""
        return f"seed-{self.seed}" if self.draw is None else f"seed-{self.seed}-draw-{self.draw}"


class RunsIndex(StrictModel):
    """`runs.json`: the runs of a folder."""

    version: Literal[1] = 1
    runs: tuple[str, ...]


class RunRecord(ConfiguredModel, storage.FolderRecord):
    """`run.json`: model, settings, data fingerprints, training history, and checksums of the seeds' files."""

    version: Literal[1] = 1
    name: str
    title: str
    kind: Kind
    counterpart: str | None = None
    parameters: int
    data_fingerprint: str
    schema_fingerprint: str
    code_version: str
    processes: int = 1  # world size of the training
    deterministic: bool = False  # all seeds give the model of the one that was trained
    draws: int = 1  # number of architectures, which the seeds share
    seeds: tuple[SeedRecord, ...] = Field(min_length=1)

    @property
    def best(self) -> SeedRecord:
        """The seed with the highest validation score."""
        return max(self.seeds, key=self._score)

    @property
    def best_score(self) -> float:
        """Validation score of the best seed."""
        return self._score(self.best)

    @property
    def limited_by(self) -> str | None:
        """The setting that ended the training of a seed while it was still improving: models.fm.epochs."""
        return next((limit for limit in map(self.limit_of_seed, self.seeds) if limit), None)

    def limit_of_seed(self, trained: SeedRecord) -> str | None:
        """The same of one seed; derived from its epochs if an older version stored it."""
        history, limit = trained.history, trained.history.limited_by
        if "limited_by" not in history.model_fields_set:
            limit = limit_of(history.epochs, self.hyperparameters, self.model == "gbdt")
        return limit and f"models.{self.model}.{limit}"

    def _score(self, trained: SeedRecord) -> float:
        return trained.history.best_epoch.score(self.hyperparameters.monitor)


@dataclass(frozen=True)
class TrainedSeed:
    """One trained model, ready to score."""

    seed: int
    architecture: Architecture
    model: nn.Module
    history: History


@dataclass(frozen=True)
class Run:
    """A trained plan on disk."""

    folder: Path
    record: RunRecord

    def trained(self, dataset: Dataset) -> Iterator[TrainedSeed]:
        """Load the model of each seed in turn.

        Raises:
            SchemaMismatchError: trained on a different data set.
            StorageError: a file is missing, additional or damaged.
        """
        record = self.record
        dataset.require_same(record.data_fingerprint, record.schema_fingerprint, str(self.folder))
        for entry in record.seeds:
            yield self._load(entry, dataset.schema)

    def _load(self, entry: SeedRecord, schema: Schema) -> TrainedSeed:
        folder = self.folder / entry.folder
        storage.verify_files(self.folder, self.record.files, RECORD, folder.name)
        architecture = Architecture.load(folder / "architecture.json")
        model = build(self.record.model, architecture, schema, self.record.hyperparameters)
        load_weights(model, folder / WEIGHTS)
        model.to(pick_device(self.record.hyperparameters.device)).eval()
        return TrainedSeed(entry.seed, architecture, model, entry.history)

    def export(self, dataset: Dataset, output: Path, title: str | None = None) -> None:
        """Write the bundle of the seed with the best validation score."""
        trained = self._load(self.record.best, dataset.schema)
        card = ModelCard(
            model=self.record.model,
            title=title or self.record.title,
            hyperparameters=self.record.hyperparameters,
            seed=trained.seed,
            data_fingerprint=self.record.data_fingerprint,
            schema_fingerprint=self.record.schema_fingerprint,
            architecture_fingerprint=trained.architecture.fingerprint,
            code_version=self.record.code_version,
            days=dataset.manifest.days,
            valid_auc=self.record.best.history.best_epoch.valid_auc,
            limited_by=self.record.limit_of_seed(self.record.best),
        )
        bundle = Bundle(card, trained.architecture, dataset.schema, trained.model)
        save_bundle(bundle, dataset.directory, output, dataset.manifest.encoder)


def open_runs(folder: Path) -> list[Run]:
    """All runs in a folder, sorted by name; empty if the stage had nothing to train.

    Raises:
        StorageError: the folder does not exist, or does not have the runs that its index lists.
    """
    if not folder.is_dir():
        raise storage.StorageError(f"{folder}: no such folder; expected the output of a training stage")
    paths = sorted(folder.glob(f"*/{RECORD}"))
    runs = [Run(path.parent, storage.read_record(path, RunRecord)) for path in paths]
    if not (folder / INDEX).is_file() and runs and all(run.record.files is None for run in runs):
        return runs  # of an older version
    wanted, found = storage.read_record(folder / INDEX, RunsIndex).runs, {path.parent.name for path in paths}
    if missing := set(wanted) - found:
        raise storage.StorageError(f"{folder / min(missing) / RECORD}: missing; train it again")
    if others := found - set(wanted):
        raise storage.StorageError(f"{folder / min(others)}: is not a run that {INDEX} lists; remove it")
    return runs


def open_by_name(folders: Sequence[Path]) -> dict[str, list[Run]]:
    """The runs of several folders, grouped by name; seeds trained separately are separate runs.

    Of a deterministic model that was trained several times, the first run is taken.

    Raises:
        UserError: two runs of the same name share a seed or differ in their settings.
    """
    found: dict[str, list[Run]] = {}
    for run in (run for folder in folders for run in open_runs(folder)):
        same = found.setdefault(run.record.name, [])
        if same and run.record.deterministic and run.record.hyperparameters == same[0].record.hyperparameters:
            continue
        for other in same:
            seeds = {entry.seed for entry in run.record.seeds} & {entry.seed for entry in other.record.seeds}
            if seeds or run.record.hyperparameters != other.record.hyperparameters:
                why = f"both have seed {min(seeds)}" if seeds else "their settings differ"
                raise UserError(
                    f"two runs are named {run.record.name!r}, and {why}: "
                    f"{other.folder} and {run.folder}; pass only one of them"
                )
        same.append(run)
    return {name: sorted(runs, key=lambda run: run.record.seeds[0].seed) for name, runs in found.items()}


def seeds_of(runs: Mapping[str, Sequence[Run]]) -> dict[str, list[int]]:
    """The seeds of each model that depends on them, given runs as returned by `open_by_name`."""
    return {
        name: [seed for run in same for seed in {each.seed: None for each in run.record.seeds}]
        for name, same in runs.items()
        if not same[0].record.deterministic
    }
