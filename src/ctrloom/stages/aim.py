"""AIM's two stages individually, so that each can be rerun or resumed on its own."""

from pathlib import Path

from ctrloom import storage
from ctrloom.architecture import Architecture
from ctrloom.config import AIMConfig, AIMSettings, ModelsConfig
from ctrloom.config.base import ConfigError
from ctrloom.data.dataset import Dataset
from ctrloom.methods import aim
from ctrloom.stages.search_stage import FILES, read_result, search_data, write_result
from ctrloom.storage import Place
from ctrloom.training.checkpoints import stage_checkpoints
from ctrloom.training.processes import data_parallel


@data_parallel
def aim_search_interactions(
    manifest: str | Place, config: AIMConfig, models: ModelsConfig, output: Path
) -> Architecture:
    """Search interactions and their functions; writes the same files as `search` into the folder `output`."""
    storage.require_own(output, *FILES)
    dataset, settings = Dataset.open(manifest), _aim_settings(models)
    work = "interactions", config.model_dump(mode="json"), settings.model_dump(mode="json")
    with stage_checkpoints(dataset, output, *work):
        found = aim.search_interactions(search_data(dataset, settings), config, settings)
        return write_result(found, dataset, config, settings, output)


@data_parallel
def aim_search_embeddings(
    manifest: str | Place, search_folder: Path, config: AIMConfig, models: ModelsConfig, output: Path
) -> Architecture:
    """Search the embedding sizes of what the first stage found in the folder `search`.

    Writes the same files as `search` into the folder `output`, for both stages. If the configuration does
    not enable this stage, or nothing was found, they are those of the first stage.

    Raises:
        SchemaMismatchError: the first stage searched another data set.
        ConfigError: the folder is of another method, or already has embedding sizes.
        StorageError: `output` is that folder.
    """
    storage.require_own(output, *FILES)
    storage.require_apart(output, [search_folder])
    dataset, settings = Dataset.open(manifest), _aim_settings(models)
    first = read_result(search_folder)
    if origin := first.architecture.provenance:
        dataset.require_same(origin.data_fingerprint, origin.schema_fingerprint, str(search_folder))
    if first.architecture.method != "aim" or first.architecture.embedding_size is not None:
        raise ConfigError(
            f"{search_folder}: this stage needs the output of AIM's first stage (aim_search_interactions, "
            "or search with search.search_embeddings: false)"
        )
    given = first.architecture.fingerprint
    work = "embeddings", given, config.model_dump(mode="json"), settings.model_dump(mode="json")
    with stage_checkpoints(dataset, output, *work):
        found = aim.add_embeddings(first, search_data(dataset, settings), config, settings)
        return write_result(found, dataset, config, settings, output)


def _aim_settings(models: ModelsConfig) -> AIMSettings:
    settings = models.of("aim")
    assert isinstance(settings, AIMSettings)
    return settings
