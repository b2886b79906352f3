"""Train the baselines that every seed gives the same model of."""

from kfp.dsl import Artifact, Dataset, Input, Output

from components.step import step


@step
def deterministic_baselines(
    dataset: Input[Dataset],
    runs: Output[Artifact],
    names: list = [],  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
    seed: int = 0,
    tuned: Input[Artifact] = None,  # type: ignore[assignment]
) -> None:
    """Train the baselines that do not depend on a seed (gbdt, if it draws no rows or fields), once for all.

    Args:
        dataset: Manifest of an encoded data set.
        runs: Trees and history of every model.
        names: All baselines; those that depend on a seed with their settings are left to `baselines`.
        models: Hyper-parameters per model (section `models` of a run configuration).
        seed: Seed that is recorded.
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
        deterministic=True,
    )
