"""Tune models on validation rows, each with the same budget."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctrloom import memory
from ctrloom.architecture import Architecture
from ctrloom.config import Hyperparameters, ModelsConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.tuning import PlannedTrial, Space, Target, TuningConfig, TuningJob
from ctrloom.data.dataset import Dataset
from ctrloom.stages.search_stage import found_architecture, search_once
from ctrloom.storage import Place
from ctrloom.training.batch_sources import BatchSources
from ctrloom.training.checkpoints import stage_checkpoints
from ctrloom.training.history import AfterEpoch, History
from ctrloom.training.plans import require_trainable, train_model
from ctrloom.training.processes import require_single_process
from ctrloom.training.torch_state import restored_torch_state
from ctrloom.tuning.record import Budget, TunedModel, Tuning, merged
from ctrloom.tuning.sampling import draw, optuna
from ctrloom.tuning.study import FAILURES, Subject, judged
from ctrloom.tuning.study import tune as run_study

SEARCH = "search"


@restored_torch_state()
def tune(
    manifest: str | Place,
    job: TuningJob,
    config: TuningConfig,
    studies: Place,
    output: Path,
    search_folder: Path | None = None,
) -> Tuning:
    """Tune the models of a job, one after the other, and write `tuning.json` into the folder `output`.

    Reads the train and valid splits only, never the test split. `studies` keeps finished trials, so that a
    stopped stage resumes. `search_folder` is what a search wrote; without it, the search of the job runs
    first and writes to `output`/search.

    Raises:
        ConfigError: a model is tuned over what a search found, but there is no search.
        UserError: no trial of a model is complete.
    """
    require_single_process("tune")
    if not job.targets:
        (nothing := Tuning()).save(output)
        return nothing
    dataset, budget = Dataset.open(manifest), Budget.of(config)
    if job.search and not search_folder:
        search_folder = output / SEARCH
        search_once(manifest, job.search, job.models, search_folder)
    sources = BatchSources(dataset, "train", "valid")
    tuned = []
    for target in job.targets:
        subject = subject_of(target, job.models, job.seed, config, sources, search_folder, output)
        tuned.append(model := run_study(subject, budget, studies))
        model.best(budget.metric)
    result = Tuning(budget=budget, models=tuple(tuned))
    result.save(output)
    return result


def plan_trials(
    manifest: str | Place, jobs: Sequence[TuningJob], config: TuningConfig, search_folder: Path | None = None
) -> list[dict[str, Any]]:
    """All trials of a random search over the models of all jobs, as JSON of `PlannedTrial`.

    Raises:
        ConfigError: a model is tuned over what a search found, but there is no search.
    """
    sources, budget = BatchSources(Dataset.open(manifest), "train", "valid"), Budget.of(config.in_parallel)
    planned = list[PlannedTrial]()
    for job in jobs:
        for target in job.targets:
            subject = subject_of(target, job.models, job.seed, config, sources, search_folder)
            planned += [
                PlannedTrial(target=target, number=number, seed=job.seed, settings=settings)
                for number, settings in enumerate(
                    draw(target.model, subject.configured, subject.space, budget)
                )
            ]
    return [trial.model_dump(mode="json") for trial in planned]


@restored_torch_state()
def tune_trial(
    manifest: str | Place,
    planned: PlannedTrial,
    models: ModelsConfig,
    config: TuningConfig,
    output: Path,
    search_folder: Path | None = None,
) -> Tuning:
    """Run one trial of a random search, and write a `tuning.json` of this trial into the folder `output`.

    Raises:
        ConfigError: the configured settings do not fit the data.
    """
    require_single_process("tune-trial")
    sources, budget = BatchSources(Dataset.open(manifest), "train", "valid"), Budget.of(config.in_parallel)
    subject = subject_of(planned.target, models, planned.seed, config, sources, search_folder, output)
    trial = judged(subject, budget, planned.number, planned.settings)
    model = TunedModel(name=planned.target.name, model=planned.target.model, trials=(trial,))
    result = Tuning(budget=budget, models=(model,))
    result.save(output)
    return result


def collect_tuning(folders: Sequence[Path], output: Path) -> Tuning:
    """Write one `tuning.json` of all models and trials in `folders` into the folder `output`.

    Raises:
        UserError: budgets differ, a trial is given twice, or no trial of a model is complete.
    """
    whole = merged(Tuning.load(folder) for folder in folders)
    whole.summary()
    whole.save(output)
    return whole


def subject_of(
    target: Target,
    models: ModelsConfig,
    seed: int,
    config: TuningConfig,
    sources: BatchSources,
    search_folder: Path | None,
    output: Path = Path(),
) -> Subject:
    """A target with its architecture, space and training, whose checkpoints are those of `output`.

    Raises:
        ConfigError: it needs the result of a search.
        SchemaMismatchError: the search was on another data set.
    """
    name, dataset, configured = target.model, sources.dataset, models.of(target.model)
    require_trainable(name, configured)
    if not target.found:
        architecture = Architecture.complete(dataset.schema.names, target.orders)
    elif search_folder:
        architecture = found_architecture(search_folder, dataset)
    else:
        raise ConfigError(f"tune: {target.name} is tuned over what a search found; give its folder")

    def train(settings: Hyperparameters, after_epoch: AfterEpoch, title: str) -> History:
        work = "trial", name, architecture.fingerprint, settings.model_dump(mode="json"), seed
        outcomes = (optuna().TrialPruned, *FAILURES)
        with stage_checkpoints(dataset, output, *work, outcomes=outcomes), memory.explained():
            return train_model(name, architecture, settings, seed, sources, title, after_epoch=after_epoch)[1]

    return Subject(
        name=target.name,
        model=name,
        configured=configured,
        space=_space(config.space(name), target, architecture),
        train=train,
        trained_on=(
            dataset.data_fingerprint,
            dataset.schema.fingerprint,
            architecture.fingerprint,
            seed,
        ),
        prepare=lambda: sources.of(configured),
    )


def _space(space: Space, target: Target, architecture: Architecture) -> Space:
    """The space without what the architecture fixes, or that of another seed may fix."""
    if target.transferred and architecture.is_empty:  # then it is not trained
        return {}
    searched = architecture.provenance.config.get("search", {}) if architecture.provenance else {}
    positions = architecture.embedding_size is not None or searched.get("search_embeddings", False)
    return {key: each for key, each in space.items() if not (positions and key == "embedding_size")}
