"""A new champion."""

from kfp.dsl import Artifact, Input, Model

from components.step import step


@step
def promote(bundle: Input[Model], verdict: Input[Artifact], registry: str) -> str:
    """Add the challenger to the registry and make it the champion, unless another was promoted first.

    Args:
        bundle: Bundle of the challenger.
        verdict: Folder that gate wrote.
        registry: Where versions and champion are kept: a path, gs:// or s3://.
    """
    from pathlib import Path

    from ctrloom import stages

    return stages.promote(registry, Path(bundle.path), Path(verdict.path) / "verdict.json")
