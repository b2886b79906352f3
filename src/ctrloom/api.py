"""The stages of the pipeline as functions of one configuration, for programs and notebooks.

Commands call the same stages. Each function writes what it makes to a folder or store, so that the next one,
a command or another process can read it there. `import ctrloom` offers these names without loading torch.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from ctrloom import stages, storage
from ctrloom.architecture import Architecture
from ctrloom.config import METHODS, MODELS, CompareConfig, Hyperparameters, Method, ModelEntry, RunConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.files import read_config
from ctrloom.config.run import ExperimentConfig
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.failed_entries import require_complete
from ctrloom.evaluation.results import Results
from ctrloom.runners.compare import run_comparison
from ctrloom.storage import Place
from ctrloom.tracking import tracked
from ctrloom.tuning.record import Tuning, merged

Config = TypeVar("Config", bound=ExperimentConfig)


@overload
def load_config(path: str | Path, settings: Mapping[str, Any] | None = None) -> RunConfig: ...
@overload
def load_config(
    path: str | Path, settings: Mapping[str, Any] | None = None, *, kind: type[Config]
) -> Config: ...
def load_config(
    path: str | Path, settings: Mapping[str, Any] | None = None, *, kind: type[Any] = RunConfig
) -> Any:
    """Read a configuration from YAML; `settings` override single keys, such as {"search.epochs": 3}.

    `kind` is `RunConfig`, or `CompareConfig` for the file of a comparison.

    Raises:
        ConfigError: the file is missing or not YAML, or a key or value is invalid.
    """
    return read_config(kind, path, (settings or {}).items())


def ingest(config: ExperimentConfig, store: str | Path = "data/store") -> Place:
    """Read raw files into clean, typed, split rows in the store; returns the path of their manifest.

    Raises:
        ConfigError: label rules, names or split do not fit the columns.
        DataError: files are missing, empty or lack a column, or too many rows are malformed.
    """
    return stages.ingest(config.data, store, engine=config)


def encode(
    config: ExperimentConfig, ingested: str | Place | None = None, store: str | Path = "data/store"
) -> Dataset:
    """Fit vocabularies on the training split and encode all splits; ingests first unless told what to encode.

    Raises:
        ConfigError: a field does not exist, or its settings do not apply to it.
        DataError: as `ingest`.
    """
    return Dataset.open(
        stages.vocabulary(ingested or ingest(config, store), config.vocabulary, store, engine=config)
    )


def search(config: RunConfig, dataset: Dataset | str | Place, output: str | Path) -> Architecture:
    """Search interactions; the folder `output` receives architecture.json, search.json and the controls.

    Raises:
        ConfigError: the settings do not fit the data.
    """
    with storage.locked_output(output):
        return stages.search(_manifest(dataset), config.search, config.models, Path(output))


def tune(
    config: RunConfig | CompareConfig,
    dataset: Dataset | str | Place,
    output: str | Path,
    model: str | None = None,
    search_folder: str | Path | None = None,
) -> Tuning:
    """Tune every model of a run or comparison with the same budget (`config.tuning`), or only `model`.

    Trains on training rows and judges on validation rows. Writes `output`/tuning.json, and finished trials to
    `output`/studies, so that a stopped call resumes. `search_folder` is what `search` wrote; without it, the
    search of the run or entry runs first. In a comparison, `model` is the name of an entry.

    Raises:
        ConfigError: there is no such model, a search is missing, or given for several entries, or one of all
            models cannot be trained.
        UserError: no trial of a model is complete.
    """
    at, found = Path(output), _path(search_folder)
    if found and model is None and isinstance(config, CompareConfig):
        raise ConfigError("tune: the result of one search is that of one entry: name the entry as the model")
    jobs = config.tuning_jobs() if model is None else config.tuning_jobs_of(model, found is not None)
    with storage.locked(output), tracked(config.tracking, config.name, at, _manifest(dataset)):
        if model is None:
            stages.require_feasible(config, Dataset.open(_manifest(dataset)).schema)
        if isinstance(config, RunConfig) and model is None and found is None:
            found = at / "search"
            stages.search_once(_manifest(dataset), config.search, config.models, found)
        budget, parts = config.with_tuning().tuning, []
        assert budget, "it has a section `tuning` now"
        for job in jobs:
            folder = at / job.targets[0].name
            parts.append(stages.tune(_manifest(dataset), job, budget, at / "studies", folder, found))
        (tuned := merged(parts)).save(at)
        return tuned


def retrain(
    config: RunConfig,
    dataset: Dataset | str | Place,
    search_folder: str | Path,
    output: str | Path,
    tuned: str | Path | None = None,
) -> Path:
    """Train the found model and its controls with every seed; writes `output`/runs and `output`/bundle.

    `search_folder` is the folder that `search` wrote, `tuned` the one that `tune` wrote. Returns the bundle,
    of the seed that is best on validation rows.

    Raises:
        SchemaMismatchError: the search was on another data set.
    """
    runs, bundle = Path(output) / "runs", Path(output) / "bundle"
    with storage.locked(output):
        stages.retrain(
            _manifest(dataset),
            Path(search_folder),
            config.models,
            config.seeds,
            runs,
            bundle,
            tuned=_path(tuned),
        )
    return bundle


def transfer(
    config: RunConfig,
    dataset: Dataset | str | Place,
    search_folder: str | Path,
    output: str | Path,
    tuned: str | Path | None = None,
) -> dict[str, Path]:
    """Train the models of `config.transfer` over the found interactions; returns the bundle of each.

    Writes `output`/runs and `output`/bundles. If the search found no interaction, there are none. `tuned` is
    the folder that `tune` wrote.

    Raises:
        SchemaMismatchError: the search was on another data set.
    """
    runs, bundles = Path(output) / "runs", Path(output) / "bundles"
    with storage.locked(output):
        stages.transfer(
            _manifest(dataset),
            Path(search_folder),
            config.transfer,
            config.models,
            config.seeds,
            runs,
            bundles,
            _path(tuned),
        )
    names = (each.name for each in config.transfer)
    return {name: bundles / name for name in names if (bundles / name).is_dir()}


def baselines(
    config: RunConfig,
    dataset: Dataset | str | Place,
    output: str | Path,
    tuned: str | Path | None = None,
) -> Path:
    """Train the models of `config.baselines`, which use every pair of fields or none.

    Returns `output`/runs, the folder that `evaluate` reads. `tuned` is the folder that `tune` wrote.
    """
    runs, names, seeds = Path(output) / "runs", config.baselines, config.seeds
    with storage.locked(output):
        stages.baselines(_manifest(dataset), names, config.models, seeds, runs, tuned=_path(tuned))
    return runs


def evaluate(
    config: RunConfig,
    dataset: Dataset | str | Place,
    search_folder: str | Path,
    run_folders: Sequence[str | Path],
    output: str | Path,
    tuned: str | Path | None = None,
) -> Results:
    """Compare all trained models on the same rows, which include the test split; the report is in `output`.

    `run_folders` are the folders `runs` that `retrain`, `transfer` and `baselines` wrote, `tuned` is the one
    that `tune` wrote.

    Raises:
        EvaluationError: models were trained with different seeds.
    """
    folders, whole = [Path(folder) for folder in run_folders], config.model_dump(mode="json")
    with storage.locked_output(output):
        return stages.evaluate(
            _manifest(dataset),
            Path(search_folder),
            folders,
            config.seeds,
            config.evaluation,
            config.name,
            whole,
            Path(output),
            _path(tuned),
        )


def compare(config: CompareConfig, output: str | Path, workers: int = 1) -> Results:
    """Train many methods and models over seeds and write one table; resumes a stopped comparison.

    Raises:
        ConfigError: an entry cannot be trained; nothing was.
        UserError: entries failed; the table of the others is written, and the message names each.
    """
    results = run_comparison(config, Path(output), workers)
    require_complete(results)
    return results


def register_model(
    name: str,
    title: str,
    build: str | Callable[..., Any],
    settings: type[Hyperparameters] = Hyperparameters,
    selects: bool = True,
) -> None:
    """Add a model that configurations can name as a baseline, and as a transfer target if it `selects`.

    `build` is a callable, or "module:name" of one, that takes an architecture, a schema and `settings`, and
    returns a `torch.nn.Module` from ids_BC and factors_BC (None without numeric or multi-valued fields) to
    logits (B,). A model that `selects` uses only the interactions of the architecture.

    Raises:
        ConfigError: the name is taken or invalid.
    """
    MODELS.register(name, ModelEntry(title, build, settings, selects))


def register_method(name: str, method: Method) -> None:
    """Add a search method that configurations can name as `search.method`.

    Raises:
        ConfigError: the name is taken or invalid.
    """
    METHODS.register(name, method)


def _manifest(dataset: Dataset | str | Place) -> str | Place:
    return dataset.path if isinstance(dataset, Dataset) else dataset


def _path(folder: str | Path | None) -> Path | None:
    return None if folder is None else Path(folder)
