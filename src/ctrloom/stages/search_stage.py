"""Search for the interactions that a model needs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ctrloom import distributed, storage
from ctrloom.architecture import Architecture, Provenance
from ctrloom.config import METHODS, MODELS, Hyperparameters, MethodConfig, ModelsConfig
from ctrloom.config.base import ConfigError, parse_section
from ctrloom.config.search import WITHOUT_RETRAINING
from ctrloom.config.version import code_version
from ctrloom.data.batches.batch import Batch
from ctrloom.data.batches.stream import Stream
from ctrloom.data.dataset import Dataset
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.models.bundle import WEIGHTS, save_weights
from ctrloom.schema import Schema
from ctrloom.search_trace import SearchTrace
from ctrloom.storage import Place
from ctrloom.training.batch_sources import BatchSources, require_rows_in_memory
from ctrloom.training.checkpoints import stage_checkpoints
from ctrloom.training.processes import data_parallel, require_single_process

STATISTICS_ROWS = 1_000_000  # maximum streamed rows of a split for the statistics of candidates
FILES = ARCHITECTURE, TRACE, CONTROLS = "architecture.json", "search.json", "controls"


@data_parallel
def search(manifest: str | Place, config: MethodConfig, models: ModelsConfig, output: Path) -> Architecture:
    """Write `architecture.json`, `search.json` and the control selections into the folder `output`.

    Weights and gates are trained on the train split; the validation split is for methods that stop early and
    for statistics-AUC.
    """
    storage.require_own(output, *FILES)
    settings, method = models.of(config.base), METHODS[config.method]
    dataset = Dataset.open(manifest)
    require_searchable(dataset.schema, config, settings)
    if not (method.trains or method.streams):
        settings = settings.model_copy(update={"rows": "memory"})
    work = "search", config.model_dump(mode="json"), settings.model_dump(mode="json")
    with stage_checkpoints(dataset, output, *work):
        found: SearchResult = method.find(search_data(dataset, settings), config, settings)
        return write_result(found, dataset, config, settings, output)


def require_searchable(schema: Schema, config: MethodConfig, settings: Hyperparameters) -> None:
    """Check that a search can run on data of this schema.

    Raises:
        ConfigError: it cannot.
    """
    method = METHODS[config.method]
    if not (method.trains or method.streams):
        require_single_process(f"search.method: {config.method}")
        require_rows_in_memory(settings, f"search.method: {config.method}")
    method.require(schema, config, settings)


def search_once(manifest: str | Place, config: MethodConfig, models: ModelsConfig, output: Path) -> None:
    """Search, unless the folder `output` has the result of the same search."""
    if (output / TRACE).is_file():
        made = read_result(output).architecture.provenance
        settings = models.of(config.base).model_dump(mode="json")
        wanted = {"search": config.model_dump(mode="json"), "model": settings}
        same = made and made.data_fingerprint == Dataset.open(manifest).data_fingerprint
        if made and same and made.config == wanted:
            return
    search(manifest, config, models, output)


def search_data(dataset: Dataset, settings: Hyperparameters) -> SearchData:
    """The rows that a search may use; each process has its own share."""
    train, valid = BatchSources(dataset, "train", "valid").of(settings)
    read: Callable[[], tuple[Batch, Batch]] | None = None
    if isinstance(train, Stream) and isinstance(valid, Stream):
        read = partial(_some, train, valid)
    elif not distributed.is_single_process():
        read = partial(_whole, dataset)
    return SearchData(train, valid, dataset.schema, dataset.crosses(), read)


def _some(train: Stream, valid: Stream) -> tuple[Batch, Batch]:
    return train.some(STATISTICS_ROWS), valid.some(STATISTICS_ROWS)


def _whole(dataset: Dataset) -> tuple[Batch, Batch]:
    return dataset.rows("train"), dataset.rows("valid")


def write_result(
    found: SearchResult, dataset: Dataset, config: MethodConfig, settings: Hyperparameters, output: Path
) -> Architecture:
    """Write the result of a search with its provenance; the folder is written atomically.

    Controls without interactions are left out: they have nothing to compare with.
    """
    provenance = Provenance(
        data_fingerprint=dataset.data_fingerprint,
        schema_fingerprint=dataset.schema.fingerprint,
        code_version=code_version(),
        seed=config.seed,
        config={"search": config.model_dump(mode="json"), "model": settings.model_dump(mode="json")},
        search_seconds=found.trace.seconds,
    )
    architecture = found.architecture.model_copy(update={"provenance": provenance})
    controls = dict(found.controls)
    if found.trained:
        controls[WITHOUT_RETRAINING] = [found.architecture]
    if unknown := set(controls) - set(config.controls):
        raise ConfigError(
            f"search.method: {config.method} returns the control {min(unknown)!r}, which "
            f"{type(config).__name__}.controls does not name; add it there"
        )
    if not distributed.is_rank_zero():
        return architecture
    with storage.atomic_directory(output, *FILES) as temporary:
        architecture.save(temporary / ARCHITECTURE)
        for name, selections in controls.items():
            for number, selection in enumerate(each for each in selections if not each.is_empty):
                selection.save(temporary / CONTROLS / name / f"{number}.json")
        if found.trained and not found.architecture.is_empty:
            save_weights(found.trained, weights_of(temporary, WITHOUT_RETRAINING))
        storage.write_folder_record(temporary / TRACE, found.trace)
    return architecture


def weights_of(folder: Path, control: str) -> Path:
    """Where a search writes the weights of a control that is not trained."""
    return folder / CONTROLS / control / WEIGHTS


def read_result(folder: Path) -> SearchResult:
    """Read the output of a search.

    Raises:
        StorageError: a file is missing, additional or damaged.
    """
    trace = SearchTrace.load(folder / TRACE)
    storage.verify_files(folder, trace.files, TRACE, CONTROLS)
    return SearchResult(Architecture.load(folder / ARCHITECTURE), trace, _read_controls(folder))


def _read_controls(folder: Path) -> dict[str, list[Architecture]]:
    """The control selections of a search, by name."""
    controls: dict[str, list[Architecture]] = {}
    paths = (folder / CONTROLS).glob("*/*.json")
    for path in sorted(paths, key=lambda path: (path.parent.name, len(path.stem), path.stem)):
        controls.setdefault(path.parent.name, []).append(Architecture.load(path))
    return controls


def found_architecture(search_folder: Path, dataset: Dataset) -> Architecture:
    """Load the found architecture.

    Raises:
        SchemaMismatchError: it searched another data set.
    """
    return require_searched(Architecture.load(search_folder / ARCHITECTURE), search_folder, dataset)


def searched_settings(found: Architecture) -> Hyperparameters:
    """The settings of the model that the search trained."""
    assert found.provenance, "written by a search"
    search, model = found.provenance.config["search"], found.provenance.config["model"]
    return parse_section(MODELS[search["base"]].settings, model, "model")


def require_searched(found: Architecture, search_folder: Path, dataset: Dataset) -> Architecture:
    """The architecture; raises SchemaMismatchError if it searched another data set."""
    if origin := found.provenance:
        dataset.require_same(origin.data_fingerprint, origin.schema_fingerprint, str(search_folder))
    return found
