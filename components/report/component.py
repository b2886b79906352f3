"""The page of a retraining."""

from kfp.dsl import HTML, Artifact, Input, Markdown, Output

from components.step import step


@step
def report(
    drift: Input[Artifact],
    verdict: Input[Artifact],
    report: Output[Artifact],
    page: Output[HTML],
    summary: Output[Markdown],
    name: str,
) -> None:
    """Put the drift and what the gate decided on one page.

    Args:
        drift: What drifted.
        verdict: What the gate decided.
        report: Folder with report.html and report.md.
        page: The page, for the Kubeflow UI.
        summary: The same in short.
        name: Name of the retraining, as the page shows it.
    """
    import shutil
    from pathlib import Path

    from ctrloom import stages

    output = Path(report.path)
    stages.report(Path(drift.path), Path(verdict.path), name, output)
    shutil.copy(output / "report.html", page.path)
    shutil.copy(output / "report.md", summary.path)
