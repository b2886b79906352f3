"""One trial of a random search."""

from kfp.dsl import Artifact, Dataset, Input, Output

from components.step import step


@step
def tune_trial(
    dataset: Input[Dataset],
    tuned: Output[Artifact],
    trial: dict,  # type: ignore[type-arg]
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
    tuning: dict = {},  # type: ignore[type-arg]  # noqa: B006
    search: Input[Artifact] = None,  # type: ignore[assignment]
) -> None:
    """Train one model with the settings of one trial, and judge it on validation rows.

    Args:
        dataset: Manifest of an encoded data set.
        tuned: Folder with tuning.json of this trial only.
        trial: Model, number, seed and settings, as plan_trials returns them.
        models: Hyper-parameters per model (section `models` of a run configuration).
        tuning: Budget and spaces (section `tuning` of a run configuration).
        search: Folder that a search wrote, for models that use its result.
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import ModelsConfig
    from ctrloom.config.tuning import PlannedTrial, TuningConfig

    stages.tune_trial(
        Path(dataset.path),
        PlannedTrial.parse(trial, "trial"),
        ModelsConfig.parse(models),
        TuningConfig.parse(tuning, "tuning"),
        Path(tuned.path),
        Path(search.path) if search else None,
    )
