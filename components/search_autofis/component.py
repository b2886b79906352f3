"""AutoFIS: the interactions that a model needs."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from components.step import step


@step
def search_autofis(
    dataset: Input[Dataset],
    search: Output[Artifact],
    summary: Output[Metrics],
    config: dict = {},  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Search feature interactions with AutoFIS: gates on all candidates, driven to zero by GRDA.

    Args:
        dataset: Manifest of an encoded data set.
        search: Folder with architecture.json, search.json and the control selections.
        summary: Interactions kept and candidates per order, and the cost of the search.
        config: Settings of the search (section `search` of a run configuration).
        models: Hyper-parameters per model (section `models` of a run configuration).
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import ModelsConfig
    from ctrloom.config.search import AutoFISConfig
    from ctrloom.runners import display

    found = stages.search(
        Path(dataset.path),
        AutoFISConfig.parse(config, "search"),
        ModelsConfig.parse(models),
        Path(search.path),
    )
    display.show_search(found, summary)
