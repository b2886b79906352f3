"""The table of a comparison."""

from typing import List  # noqa: UP035  # KFP needs this name for lists of artifacts

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from components.step import step


@step
def compare_table(
    dataset: Input[Dataset],
    jobs: Input[List[Artifact]],  # noqa: UP006
    table: Output[Artifact],
    bundles: Output[Artifact],
    page: Output[HTML],
    summary: Output[Metrics],
    comparison: dict,  # type: ignore[type-arg]
    tuned: Input[Artifact] = None,  # type: ignore[assignment]
) -> None:
    """Test all models of a comparison on the same rows; entries that failed are left out and named.

    Args:
        dataset: Manifest of an encoded data set.
        jobs: Folders that the jobs wrote.
        table: Folder with metrics.json, table.csv, predictions.parquet and comparison.html.
        bundles: The best model on the validation split, and those asked for, one folder each.
        page: The table and its plots as a page.
        summary: Test AUC of every model, and how many entries failed.
        comparison: The whole configuration of the comparison.
        tuned: Folder that tune wrote, for the page.
    """
    import shutil
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import CompareConfig
    from ctrloom.runners import display

    config = CompareConfig.parse(comparison, "comparison")
    folders = [Path(job.path) for job in jobs]
    its = Path(tuned.path) if tuned else None
    results = stages.tabulate(
        Path(dataset.path), config, folders, Path(table.path), bundles=Path(bundles.path), tuned=its
    )
    shutil.copy(Path(table.path) / "comparison.html", page.path)
    auc = {f"test_auc_{model.name}": model.summary["test"]["auc"].mean for model in results.models}
    display.show_metrics({**auc, "failed_entries": len(results.failed)}, summary)
