"""Fail a run whose figures got worse."""

from kfp.dsl import Artifact, Input

from components.step import step


@step
def require(verdict: Input[Artifact], strict: bool = True) -> None:
    """Fail the run if the figures got worse; a separate step, so that the verdict is kept.

    Args:
        verdict: Folder that regression wrote.
        strict: Fail the run; otherwise only the verdict reports it.
    """
    from pathlib import Path

    from ctrloom import stages

    if strict:
        stages.require(Path(verdict.path) / "verdict.json")
