"""The champion of a registry."""

from kfp.dsl import Artifact, Output

from components.step import step


@step
def champion(champion: Output[Artifact], registry: str) -> None:
    """Fetch the champion's bundle.

    Args:
        champion: Folder with the bundle, and the record of its promotion.
        registry: Where versions and champion are kept: a path, gs:// or s3://.
    """
    from pathlib import Path

    from ctrloom import stages

    record = stages.champion(registry, Path(champion.path))
    champion.metadata["version"] = record.name
