"""The champion of a registry."""

from kfp.dsl import Artifact, Output

from components.step import step


@step
def champion(
    champion: Output[Artifact],
    registry: str,
    training: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Fetch the champion's bundle.

    Args:
        champion: Folder with the bundle, and the record of its promotion.
        registry: Where versions and champion are kept: a path, gs:// or s3://.
        training: How it will be trained again (section `training`); its settings are checked here.
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config.retraining import TrainingConfig

    record = stages.champion(registry, Path(champion.path), TrainingConfig.parse(training, "training"))
    champion.metadata["version"] = record.name
