"""A bundle, or the champion's."""

from kfp.dsl import Model, Output

from components.step import step


@step
def fetch_bundle(fetched: Output[Model], bundle: str = "", registry: str = "") -> None:
    """Fetch a bundle, or the champion's of a registry.

    Args:
        fetched: The bundle.
        bundle: Folder, gs:// or s3:// of a bundle; empty for a champion.
        registry: Where versions and champion are kept: a path, gs:// or s3://; empty for a bundle.
    """
    from pathlib import Path

    from ctrloom import stages

    fetched.metadata["version"] = stages.fetch_bundle(bundle, registry, Path(fetched.path))
