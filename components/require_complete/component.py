"""Fail a comparison of which entries failed."""

from kfp.dsl import Artifact, Input

from components.step import step


@step
def require_complete(table: Input[Artifact], strict: bool = True) -> None:
    """Fail the run if entries of the comparison failed; a separate step, so that the table is kept.

    Args:
        table: Folder with the metrics.json of a comparison.
        strict: Fail the run; otherwise only the table names what failed.
    """
    from pathlib import Path

    from ctrloom.evaluation import failed_entries
    from ctrloom.evaluation.results import Results

    if strict:
        failed_entries.require_complete(Results.load(Path(table.path) / "metrics.json"))
