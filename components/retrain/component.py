"""Retrain what a search found."""

from kfp.dsl import Artifact, Dataset, Input, Output

from components.step import step


@step
def retrain(
    dataset: Input[Dataset],
    search: Input[Artifact],
    runs: Output[Artifact],
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
    seeds: list = [0],  # type: ignore[type-arg]  # noqa: B006
    seed: int = 0,
) -> None:
    """Train the found model from scratch with one seed, and its controls beside it.

    Args:
        dataset: Manifest of an encoded data set.
        search: Folder that a search wrote.
        runs: Weights and histories of every model.
        models: Hyper-parameters per model (section `models` of a run configuration).
        seeds: All seeds; which random control a seed has depends on its place among them.
        seed: The one to train with.
    """
    from pathlib import Path

    from ctrloom import stages

    stages.retrain(
        Path(dataset.path),
        Path(search.path),
        models,
        [int(seed) for seed in seeds],
        Path(runs.path),
        only=int(seed),
    )
