"""Retrain what a search found."""

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.step import step


@step
def retrain(
    dataset: Input[Dataset],
    search: Input[Artifact],
    runs: Output[Artifact],
    bundle: Output[Model],
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
    seeds: list = [0],  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Train the found model from scratch with several seeds, and its controls beside it.

    Args:
        dataset: Manifest of an encoded data set.
        search: Folder that a search wrote.
        runs: Weights and histories of every model and seed.
        bundle: The model of the seed that was best on the validation split; scores raw rows by itself.
        models: Hyper-parameters per model (section `models` of a run configuration).
        seeds: Seeds to train with.
    """
    from pathlib import Path

    from ctrloom import stages

    stages.retrain(
        Path(dataset.path),
        Path(search.path),
        models,
        [int(seed) for seed in seeds],
        Path(runs.path),
        Path(bundle.path),
    )
