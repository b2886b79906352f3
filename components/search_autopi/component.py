"""AutoPI: a graph of interaction operators."""

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
    """Search a graph of interaction operators with AutoPI: by gradients, or the best of random graphs.

    Args:
        dataset: Manifest of an encoded data set.
        search: Folder with architecture.json, search.json and random graphs as controls.
        summary: How often each operator was kept, and the cost of the search.
        config: Settings of the search (section `search` of a run configuration).
        models: Hyper-parameters per model (section `models` of a run configuration).
    """
    from collections import Counter
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import ModelsConfig
    from ctrloom.config.search import AutoPIConfig
    from ctrloom.runners import display

    found = stages.search(
        Path(dataset.path),
        AutoPIConfig.parse(config, "search"),
        ModelsConfig.parse(models),
        Path(search.path),
    )
    kept = (*found.cells.interaction, *found.cells.ensemble) if found.cells else ()
    times = Counter(f"kept_{edge.operator}" for edge in kept)
    display.show_search(found, summary, times)
