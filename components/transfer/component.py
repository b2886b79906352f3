"""Train other models over the interactions that a search found."""

from kfp.dsl import Artifact, Dataset, Input, Output

from components.step import step


@step
def transfer(
    dataset: Input[Dataset],
    search: Input[Artifact],
    runs: Output[Artifact],
    targets: list = ["ipnn", "deepfm"],  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
    seed: int = 0,
    tuned: Input[Artifact] = None,  # type: ignore[assignment]
    seeds: list = [],  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Transfer the found interactions to other models.

    Args:
        dataset: Manifest of an encoded data set.
        search: Folder that a search wrote.
        runs: Weights and histories of every model.
        targets: Models to transfer to: ipnn, or {model: fm, of: random} over another selection.
        models: Hyper-parameters per model (section `models` of a run configuration).
        seed: Seed to train with.
        tuned: Folder that tune wrote, whose best settings are used.
        seeds: All seeds of the run, which share the random selections; without them, one seed trains all.
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import ModelsConfig

    stages.transfer(
        Path(dataset.path),
        Path(search.path),
        targets,
        ModelsConfig.parse(models),
        [int(seed)],
        Path(runs.path),
        tuned=Path(tuned.path) if tuned else None,
        of=[int(each) for each in seeds],
    )
