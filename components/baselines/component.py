"""Train the models that a search has to beat."""

from kfp.dsl import Artifact, Dataset, Input, Output

from components.step import step


@step
def baselines(
    dataset: Input[Dataset],
    runs: Output[Artifact],
    names: list = ["lr", "fm", "fwfm", "fnn", "deepfm", "ipnn"],  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
    seed: int = 0,
    tuned: Input[Artifact] = None,  # type: ignore[assignment]
) -> None:
    """Train models that use all pairs of fields, or none, with one seed.

    Args:
        dataset: Manifest of an encoded data set.
        runs: Weights and histories of every model.
        names: Models to train: lr, fm, fwfm, fnn, deepfm, ipnn; deterministic_baselines trains
            those that do not depend on the seed.
        models: Hyper-parameters per model (section `models` of a run configuration).
        seed: Seed to train with.
        tuned: Folder that tune wrote, whose best settings are used.
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import ModelsConfig

    stages.baselines(
        Path(dataset.path),
        names,
        ModelsConfig.parse(models),
        [int(seed)],
        Path(runs.path),
        tuned=Path(tuned.path) if tuned else None,
        deterministic=False,
    )
