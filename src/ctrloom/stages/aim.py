"""AIM's two stages by themselves, so that each can be run again or resumed alone."""

from pathlib import Path
from typing import Any

from ctrloom.architecture import Architecture
from ctrloom.config import AIMConfig, AIMSettings
from ctrloom.data.dataset import Dataset
from ctrloom.search import aim
from ctrloom.stages.search import read_found, task_of, write_found
from ctrloom.storage import Place
from ctrloom.training.processes import by_several


@by_several
def aim_search_interactions(
    manifest: str | Place, config: AIMConfig, models: dict[Any, Any], output: Path
) -> Architecture:
    """Search interactions and their functions; writes what `search` writes into the folder `output`."""
    dataset, hyper = Dataset.open(manifest), _settings(models)
    found = aim.search_interactions(task_of(dataset, hyper), config, hyper)
    return write_found(found, dataset, config, hyper, output)


@by_several
def aim_search_embeddings(
    manifest: str | Place, search: Path, config: AIMConfig, models: dict[Any, Any], output: Path
) -> Architecture:
    """Search the embedding sizes of what the first stage found in the folder `search`.

    Writes what `search` writes into the folder `output`: both stages together. Where the configuration does
    not ask for it, or nothing was found, that is the first stage as it was.

    Raises:
        SchemaMismatchError: the first stage searched another data set.
        ValueError: the folder is of another method, or has been through this stage.
    """
    dataset, hyper = Dataset.open(manifest), _settings(models)
    first = read_found(search)
    if origin := first.architecture.provenance:
        dataset.require_same(origin.data_fingerprint, origin.schema_fingerprint, str(search))
    if first.architecture.method != "aim" or first.architecture.embedding_size is not None:
        raise ValueError(
            f"{search}: this stage goes on from the first stage of AIM (aim_search_interactions, or search "
            "with search.search_embeddings: false); give the folder that it wrote"
        )
    found = aim.add_embeddings(first, task_of(dataset, hyper), config, hyper)
    return write_found(found, dataset, config, hyper, output)


def _settings(models: dict[Any, Any]) -> AIMSettings:
    settings = AIMSettings.of(models, "aim")
    assert isinstance(settings, AIMSettings)
    return settings
