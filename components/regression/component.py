"""Figures against a stored baseline."""

from kfp.dsl import Artifact, Input, Markdown, Metrics, Output

from components.step import step


@step
def regression(
    table: Input[Artifact],
    verdict: Output[Artifact],
    summary: Output[Markdown],
    metrics: Output[Metrics],
    baseline: dict,  # type: ignore[type-arg]
) -> None:
    """Compare the metrics of a comparison with a stored baseline.

    Args:
        table: Folder with the metrics.json of a comparison.
        verdict: Folder with verdict.json and verdict.md.
        summary: Every model with its stored and current figures.
        metrics: How many figures passed and failed.
        baseline: The stored figures with their tolerances.
    """
    import shutil
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.evaluation.regression import Baseline
    from ctrloom.runners import display

    decided = stages.regression(
        Path(table.path) / "metrics.json", Baseline.parse(baseline, "baseline"), Path(verdict.path)
    )
    shutil.copy(Path(verdict.path) / "verdict.md", summary.path)
    passed = sum(check.passed for check in decided.checks)
    failed = len(decided.checks) - passed + len(decided.problems)
    display.show_metrics({"passed": passed, "failed": failed}, metrics)
