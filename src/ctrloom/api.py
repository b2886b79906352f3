"""The stages of the pipeline as functions of one configuration, for programs and notebooks.

Commands call the same stages. Each function writes what it makes to a folder or store, so that the next one,
a command or another process can read it there. `import ctrloom` offers these names without loading torch.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

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
from ctrloom.serving.predict import Predicted
from ctrloom.serving.predict import predict as score_files
from ctrloom.serving.predictor import Predictor
from ctrloom.storage import Place
from ctrloom.tracking import tracked
from ctrloom.training.torch_state import restored_torch_state
from ctrloom.tuning.record import Tuning, merged

if TYPE_CHECKING:
    import pyarrow as pa

    from ctrloom.nn.compressed_tables import Tables
    from ctrloom.serving.export.formats import Format
    from ctrloom.serving.export.record import ExportRecord

CACHE = Path("~/.cache/ctrloom")
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
        ConfigError: there is no such model, or a search is missing, or given for several entries.
        UserError: no trial of a model is complete.
    """
    at, found = Path(output), _path(search_folder)
    if found and model is None and isinstance(config, CompareConfig):
        raise ConfigError("tune: the result of one search is that of one entry: name the entry as the model")
    jobs = config.tuning_jobs() if model is None else config.tuning_jobs_of(model, found is not None)
    with storage.locked(output), tracked(config.tracking, config.name, at, _manifest(dataset)):
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
    return {name: bundles / name for name in config.transfer if (bundles / name).is_dir()}


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


@restored_torch_state()
def load_bundle(bundle: str | Path, cache: str | Path = CACHE) -> Predictor:
    """Load a trained model that scores raw rows from a folder, gs:// or s3://; see `serving.predictor`.

    `cache` keeps the files of an object store; changed bundles are fetched again.

    Raises:
        StorageError: a file is missing or damaged.
    """
    return Predictor.load(storage.cached(storage.place(bundle), Path(cache).expanduser()))


def predict(
    bundle: str | Path,
    files: str | Sequence[str],
    output: str | Place,
    cache: str | Path = CACHE,
    keep: str | Sequence[str] = (),
    format: str | None = None,
) -> Predicted:
    """Score raw rows: write a row number and a probability per input row, in input order.

    `files` are paths, globs or URLs in the layout of the training data; label and weight may be absent. A
    malformed row has a reason instead of a probability. `keep` names columns of the files to write as they
    are. `output` is a path, gs:// or s3://: a file (.parquet, .csv, .csv.gz), or with a slash at the end a
    folder with one file per input in the `format` parquet (default), csv or csv.gz, which skips those that it
    has already. `-` is standard output, which gets CSV, like a device, a FIFO or an open file.

    Raises:
        ConfigError: the name of the output has another ending, or a column to keep that of another one.
        StorageError: the bundle is incomplete, or the output cannot be written or is one of the inputs.
        DataError: a file is missing, empty or has other columns, or lacks one to keep.
    """
    files, keep = ([names] if isinstance(names, str) else names for names in (files, keep))
    storage.require_apart(output, [bundle])  # which is read from a copy, if it is in a store
    folder = storage.cached(storage.place(bundle), Path(cache).expanduser())
    return score_files(folder, files, output, keep, format)


def export(
    bundle: str | Path,
    output: str | Path,
    format: "Format" = "onnx",
    rows: Sequence[str] = (),
    tables: "Tables | None" = None,
    cache: str | Path = CACHE,
) -> "ExportRecord":
    """Export a bundle: the folder `output` receives the model, its encoder as data, and export.json.

    `format` is "torch", for torch.export and AOTInductor, or "onnx". The written model is compared with the
    bundle, on random rows and on the raw files `rows`. `tables` compresses embedding tables, "int8" or
    "bf16"; `rows`, which then need labels, give the cost in AUC. See docs/export.md.

    Raises:
        ConfigError: the format needs a package that is not installed.
        StorageError: the bundle is incomplete, or the output cannot be written.
        ParityError: the exported model differs from the bundle; nothing was written.
    """
    from ctrloom.serving.export.run import export as export_bundle

    folder = storage.cached(storage.place(bundle), Path(cache).expanduser())
    return export_bundle(folder, Path(output), format, rows, tables)


def read_predictions(file: str | Path) -> "pa.Table":
    """Read the Parquet file of an evaluation, a comparison or `predict`, with every byte verified.

    Raises:
        StorageError: it is missing or damaged.
        DataError: it is not Parquet.
    """
    from ctrloom.data.parquet.reader import read_table

    return read_table(Path(file))


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
