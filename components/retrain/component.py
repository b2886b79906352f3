"""Retrain what a search found."""

from kfp.dsl import Artifact, Dataset, Input, Output

from components.step import step


@step
def retrain(
    dataset: Input[Dataset],
    search: Input[Artifact],
    runs: Output[Artifact],
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
    seed: int = 0,
    tuned: Input[Artifact] = None,  # type: ignore[assignment]
    seeds: list = [],  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Train the found model and its controls from scratch with one seed.

    Args:
        dataset: Manifest of an encoded data set.
        search: Folder that a search wrote.
        runs: Weights and histories of every model.
        models: Hyper-parameters per model (section `models` of a run configuration).
        seed: Seed to train with.
        tuned: Folder that tune wrote, whose best settings are used.
        seeds: All seeds of the run, which share the random selections; without them, one seed trains all.
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import ModelsConfig

    stages.retrain(
        Path(dataset.path),
        Path(search.path),
        ModelsConfig.parse(models),
        [int(seed)],
        Path(runs.path),
        tuned=Path(tuned.path) if tuned else None,
        of=[int(each) for each in seeds],
    )
