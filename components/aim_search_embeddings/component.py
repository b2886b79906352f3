"""AIM, second stage: the embedding positions that each field needs."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from components.step import step


@step
def aim_search_embeddings(
    dataset: Input[Dataset],
    interactions: Input[Artifact],
    search: Output[Artifact],
    summary: Output[Metrics],
    config: dict = {},  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Search the embedding sizes for the interactions that AIM's first stage found.

    With `search_embeddings: false`, the output of the first stage is passed on unchanged.

    Args:
        dataset: Manifest of an encoded data set.
        interactions: Folder that the first stage wrote.
        search: The same folder for both stages.
        summary: Interactions kept per order, mean positions kept, and the cost of both stages.
        config: Settings of the search (section `search` of a run configuration).
        models: Hyper-parameters per model (section `models` of a run configuration).
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import ModelsConfig
    from ctrloom.config.search import AIMConfig
    from ctrloom.runners import display

    found = stages.aim_search_embeddings(
        Path(dataset.path),
        Path(interactions.path),
        AIMConfig.parse(config, "search"),
        ModelsConfig.parse(models),
        Path(search.path),
    )
    sizes = [len(kept.positions) for kept in found.positions]
    shortened = {"mean_size_of_shortened": sum(sizes) / len(sizes)} if sizes else {}
    display.show_search(found, summary, shortened)
