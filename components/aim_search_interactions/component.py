"""AIM, first stage: the interactions that a model needs, and their functions."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from components.step import step


@step
def aim_search_interactions(
    dataset: Input[Dataset],
    search: Output[Artifact],
    summary: Output[Metrics],
    config: dict = {},  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Search feature interactions and their functions with AIM, at full embedding size.

    Args:
        dataset: Manifest of an encoded data set.
        search: Folder with architecture.json, search.json and the control selections.
        summary: Interactions kept per order (fields, and fields with functions), and the cost of the search.
        config: Settings of the search (section `search` of a run configuration).
        models: Hyper-parameters per model (section `models` of a run configuration).
    """
    from collections import Counter
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import ModelsConfig
    from ctrloom.config.search import AIMConfig
    from ctrloom.runners import display

    found = stages.aim_search_interactions(
        Path(dataset.path), AIMConfig.parse(config, "search"), ModelsConfig.parse(models), Path(search.path)
    )
    orders = Counter(interaction.order for interaction in found.interactions)
    with_functions = {f"kept_with_functions_order_{order}": count for order, count in orders.items()}
    display.show_search(found, summary, with_functions)
