"""The end of a run that must not pass."""

from kfp.dsl import Artifact, Input

from components.step import step


@step
def require(verdict: Input[Artifact], strict: bool = True) -> None:
    """Fail the run when the figures got worse; a step of its own, so that the verdict is kept.

    Args:
        verdict: What `regression` decided.
        strict: Whether the run fails; otherwise the verdict alone says it.
    """
    from pathlib import Path

    from ctrloom import stages

    if strict:
        stages.require(Path(verdict.path) / "verdict.json")
