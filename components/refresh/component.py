"""The champion's architecture on later rows."""

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.step import step


@step
def refresh(
    dataset: Input[Dataset],
    champion: Input[Artifact],
    runs: Output[Artifact],
    bundle: Output[Model],
    training: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Train the champion's architecture on new rows, without a new search.

    Args:
        dataset: Manifest of a data set that grew from the champion's.
        champion: The champion.
        runs: Weights and histories of every seed.
        bundle: The challenger: the model of the seed that was best on the validation split.
        training: Warm or cold start, seeds, and hyper-parameters that differ (section `training`).
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config.retraining import TrainingConfig

    stages.refresh(
        Path(dataset.path),
        Path(champion.path) / "bundle",
        TrainingConfig.parse(training, "training"),
        Path(runs.path),
        Path(bundle.path),
    )
