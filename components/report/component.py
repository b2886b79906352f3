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
    """Put the drift and the gate's verdict on one page.

    Args:
        drift: Folder that drift wrote.
        verdict: Folder that gate wrote.
        report: Folder with report.html and report.md.
        page: The page, for the Kubeflow UI.
        summary: A short version of the page.
        name: Name of the retraining, for the page.
    """
    import shutil
    from pathlib import Path

    from ctrloom import stages

    output = Path(report.path)
    stages.report(Path(drift.path), Path(verdict.path), name, output)
    shutil.copy(output / "report.html", page.path)
    shutil.copy(output / "report.md", summary.path)
