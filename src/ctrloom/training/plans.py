"""Training of plans: a model with several seeds, saved as a run (`training.runs`)."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ctrloom import distributed, storage
from ctrloom.architecture import Architecture
from ctrloom.config import MODELS, Hyperparameters, ModelName, ModelsConfig, shared_draws
from ctrloom.config.errors import UserError
from ctrloom.config.version import code_version
from ctrloom.data.dataset import Dataset
from ctrloom.models import build
from ctrloom.models.bundle import WEIGHTS, load_weights, save_weights
from ctrloom.nn.cross_features import fill_crosses
from ctrloom.training.batch_sources import BatchSources, require_rows_in_memory
from ctrloom.training.checkpoints import stage_checkpoints
from ctrloom.training.history import AfterEpoch, History, Kind, nothing
from ctrloom.training.loop import fit, pick_device, seed_everything, validate_epoch
from ctrloom.training.processes import require_single_process
from ctrloom.training.runs import INDEX, RECORD, RunRecord, RunsIndex, SeedRecord


@dataclass(frozen=True)
class Plan:
    """A model to train; the seeds share the architectures, so that each is trained (`shared_draws`)."""

    name: str
    title: str
    kind: Kind
    model: ModelName
    architectures: Sequence[Architecture]
    counterpart: str | None = None  # name of the model that this one is compared with
    begin: Callable[[nn.Module], None] | None = None  # initializes weights before training
    settings: Hyperparameters | None = None  # None: those of the model
    weights: Path | None = None  # of a model that is scored instead of trained, the same for every seed

    def settings_of(self, models: ModelsConfig) -> Hyperparameters:
        """The settings of the plan, given those of all models."""
        return self.settings or models.of(self.model)

    def described(self, models: ModelsConfig) -> list[Any]:
        """JSON of what is trained, except the initial weights."""
        settings = self.settings_of(models)
        architectures = [architecture.fingerprint for architecture in self.architectures]
        return [self.name, self.title, self.model, architectures, settings.model_dump(mode="json")]


def train_runs(
    dataset: Dataset,
    plans: Sequence[Plan],
    models: ModelsConfig,
    seeds: Sequence[int],
    output: Path,
    of: Sequence[int] = (),
) -> None:
    """Train every plan with every seed; `output` is written atomically.

    If the others of a run are trained elsewhere, `of` are all its seeds, which share a plan's architectures.
    Reads the train and valid splits only, never the test split. With several processes, each model is
    trained data-parallel and rank 0 writes. Checkpoints are kept until the output is there.

    Raises:
        UserError: a tree model was requested with several processes or with streamed rows.
    """
    for plan in plans:
        require_trainable(plan.model, plan.settings_of(models))
    sources = BatchSources(dataset, "train", "valid")
    work = "train", [plan.described(models) for plan in plans], list(seeds), *of
    every = list(of or seeds)
    if unknown := set(seeds) - set(every):
        raise UserError(f"seed {min(unknown)} is not among all seeds, which share the draws: {every}")
    writing = storage.atomic_directory(output, INDEX, f"*/{RECORD}")
    with (
        stage_checkpoints(dataset, output, *work),
        writing if distributed.is_rank_zero() else nullcontext() as temporary,
    ):
        for plan in plans:
            own = plan.settings_of(models)
            _train(plan, own, seeds, every, sources, temporary and temporary / plan.name)
        if temporary:
            index = RunsIndex(runs=tuple(sorted(plan.name for plan in plans)))
            storage.write_record(temporary / INDEX, index)


def require_trainable(model: ModelName, settings: Hyperparameters) -> None:
    """Raise UserError if trees were requested with several processes or with streamed rows."""
    if MODELS[model].trees:
        require_single_process(f"{model}: LightGBM")
        require_rows_in_memory(settings, f"{model}: LightGBM")


def train_model(
    name: ModelName,
    architecture: Architecture,
    settings: Hyperparameters,
    seed: int,
    sources: BatchSources,
    title: str,
    begin: Callable[[nn.Module], None] | None = None,
    after_epoch: AfterEpoch = nothing,
) -> tuple[nn.Module, History]:
    """Build and train one model; `sources` are the train and valid splits.

    Raises:
        DivergedError: a validation score is not finite.
    """
    dataset = sources.dataset
    seed_everything(seed)
    model = build(name, architecture, dataset.schema, settings)
    fill_crosses(model, dataset.crosses())
    if begin:
        begin(model)
    if MODELS[name].trees:
        from ctrloom.training.trees import fit_trees

        rows, judged = sources.held()
        return model, fit_trees(model, rows, judged, settings, seed, title, after_epoch)
    train, valid = sources.of(settings)
    return model, fit(model, train, valid, settings, seed, title, after_epoch)


def unchanged(model: nn.Module, sources: BatchSources, settings: Hyperparameters) -> History:
    """The history of a model that is not trained: a single epoch, which took no time."""
    train, valid = (rows.to(pick_device(settings.device)) for rows in sources.of(settings))
    train_loss = validate_epoch(model.to(train.device), train, 1, 0.0).valid_logloss
    epoch = validate_epoch(model, valid, 1, train_loss)
    return History(epochs=(epoch,), best=1, seconds=0.0, rows_per_second=0.0, limited_by=None)


def _train(
    plan: Plan,
    settings: Hyperparameters,
    seeds: Sequence[int],
    every: Sequence[int],
    sources: BatchSources,
    output: Path | None,
) -> None:
    """Train a plan with some of all seeds; saved to `output` if given."""
    records = []
    dataset, count = sources.dataset, len(plan.architectures)
    deterministic = plan.weights is not None or MODELS[plan.model].same_for_every_seed(settings)
    if deterministic:
        seeds = every = seeds[:1]
    place = {seed: number for number, seed in enumerate(every)}
    work = ((seed, draw) for seed in seeds for draw in shared_draws(place[seed], len(every), count))
    for seed, draw in work:
        architecture = plan.architectures[draw]
        title = f"{plan.title}, seed {seed}" + (f", draw {draw}" if count > 1 else "")
        if plan.weights:
            model = build(plan.model, architecture, dataset.schema, settings)
            load_weights(model, plan.weights)
            history = unchanged(model, sources, settings)
        else:
            model, history = train_model(plan.model, architecture, settings, seed, sources, title, plan.begin)
        records.append(SeedRecord(seed=seed, draw=draw if count > 1 else None, history=history))
        if output:
            folder = output / records[-1].folder
            architecture.save(folder / "architecture.json")
            save_weights(model, folder / WEIGHTS)
    if not output:
        return
    record = RunRecord(
        name=plan.name,
        title=plan.title,
        kind=plan.kind,
        counterpart=plan.counterpart,
        model=plan.model,
        hyperparameters=settings,
        parameters=sum(p.numel() for p in model.parameters()),
        data_fingerprint=dataset.data_fingerprint,
        schema_fingerprint=dataset.schema.fingerprint,
        code_version=code_version(),
        processes=distributed.rank_and_world_size()[1],
        deterministic=deterministic,
        draws=count,
        seeds=tuple(records),
    )
    storage.write_folder_record(output / RECORD, record)
