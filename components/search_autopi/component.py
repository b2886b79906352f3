"""AutoPI: which operators, in which graph, combine the fields."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from components.step import step


@step
def search_autopi(
    dataset: Input[Dataset],
    search: Output[Artifact],
    summary: Output[Metrics],
    config: dict = {},  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Search with AutoPI for a graph of interaction operators, by gradients or at random.

    Args:
        dataset: Manifest of an encoded data set.
        search: Folder with architecture.json and search.json.
        summary: Operators in the graph, and the cost of the search.
        config: Settings of the search (section `search` of a run configuration).
        models: Hyper-parameters per model (section `models` of a run configuration).
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import AutoPIConfig

    found = stages.search(Path(dataset.path), AutoPIConfig.parse(config, "search"), models, Path(search.path))
    if found.cells:
        summary.log_metric("operators", len(found.cells.interaction) + len(found.cells.ensemble))
    if found.provenance:
        summary.log_metric("search_seconds", found.provenance.search_seconds)
