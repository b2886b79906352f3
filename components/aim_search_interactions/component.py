"""AIM, first stage: which interactions a model needs, and by which functions."""

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
    """Search feature interactions and their functions with AIM; embeddings stay whole.

    Args:
        dataset: Manifest of an encoded data set.
        search: Folder with architecture.json, search.json and the control selections.
        summary: Interactions kept per order (fields, and fields with functions), and the cost of the search.
        config: Settings of the search (section `search` of a run configuration).
        models: Hyper-parameters per model (section `models` of a run configuration).
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import AIMConfig

    found = stages.aim_search_interactions(
        Path(dataset.path), AIMConfig.parse(config, "search"), models, Path(search.path)
    )
    for order in found.orders:
        summary.log_metric(f"kept_order_{order}", len(found.of_order(order)))
        with_functions = sum(interaction.order == order for interaction in found.interactions)
        summary.log_metric(f"kept_with_functions_order_{order}", with_functions)
    if found.provenance:
        summary.log_metric("search_seconds", found.provenance.search_seconds)
