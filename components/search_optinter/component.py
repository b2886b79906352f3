"""OptInter: which pairs to memorize, to factorize and to leave out."""

from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from components.step import step


@step
def search_optinter(
    dataset: Input[Dataset],
    search: Output[Artifact],
    summary: Output[Metrics],
    config: dict = {},  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Search with OptInter how each pair of fields is modelled: memorized, factorized, or left out.

    Args:
        dataset: Manifest of an encoded data set with crosses (vocabulary.crosses).
        search: Folder with architecture.json, search.json and the control selections.
        summary: Pairs kept, memorized and factorized, and the cost of the search.
        config: Settings of the search (section `search` of a run configuration).
        models: Hyper-parameters per model (section `models` of a run configuration).
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import ModelsConfig
    from ctrloom.config.search import OptInterConfig
    from ctrloom.runners import display

    found = stages.search(
        Path(dataset.path),
        OptInterConfig.parse(config, "search"),
        ModelsConfig.parse(models),
        Path(search.path),
    )
    functions = {"memorized": "memorize", "factorized": "hadamard"}
    counts = {name: len(found.of_order(2, function)) for name, function in functions.items()}
    display.show_search(found, summary, counts)
