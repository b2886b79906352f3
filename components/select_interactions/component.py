"""Selections without training: by statistics-AUC, by mutual information, or at random."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from components.step import step


@step
def select_interactions(
    dataset: Input[Dataset],
    search: Output[Artifact],
    summary: Output[Metrics],
    config: dict = {},  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Select feature interactions by a statistic of their fields, or at random, without training.

    Args:
        dataset: Manifest of an encoded data set.
        search: Folder with architecture.json, search.json and the control selections.
        summary: Interactions kept per order, and the cost of the statistic.
        config: Settings of the selection (section `search` of a run configuration), including its method.
        models: Hyper-parameters per model (section `models` of a run configuration).
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import ModelsConfig
    from ctrloom.config.search import search_config
    from ctrloom.runners import display

    found = stages.search(
        Path(dataset.path),
        search_config(config),
        ModelsConfig.parse(models),
        Path(search.path),
    )
    display.show_search(found, summary)
