"""Compare all models on the same rows."""

from typing import List  # noqa: UP035  # KFP needs this name for lists of artifacts

from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Output

from components.step import step


@step
def evaluate(
    dataset: Input[Dataset],
    search: Input[Artifact],
    retrained: Input[List[Artifact]],  # noqa: UP006
    baselines: Input[List[Artifact]],  # noqa: UP006
    deterministic: Input[Artifact],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    curve: Output[ClassificationMetrics],
    summary: Output[Markdown],
    report: Output[HTML],
    name: str,
    seeds: list,  # type: ignore[type-arg]
    settings: dict = {},  # type: ignore[type-arg]  # noqa: B006
    run: dict = {},  # type: ignore[type-arg]  # noqa: B006
    transferred: Input[List[Artifact]] = None,  # type: ignore[assignment]  # noqa: UP006
    tuned: Input[Artifact] = None,  # type: ignore[assignment]
) -> None:
    """Score all models on the same validation and test rows, compare them, and write the report.

    Args:
        dataset: Manifest of an encoded data set.
        search: Folder that a search wrote.
        retrained: Models that retrain wrote, one folder per seed.
        baselines: Models that baselines wrote, likewise.
        deterministic: Models that deterministic_baselines wrote.
        evaluation: Folder with metrics.json, predictions.parquet, summary.md and report.html.
        metrics: Test AUC and logloss of every model, means over seeds.
        curve: ROC curve and confusion matrix of the model that the search found, on the test rows.
        summary: The verdict in words, and all models in one table.
        report: The whole report as a self-contained page.
        name: Name of the run, for the report.
        seeds: Seeds that every model must have been trained with.
        settings: Base model, bins and resamples (section `evaluation` of a run configuration).
        run: The whole run configuration, for the provenance section of the report.
        transferred: Models that transfer wrote, likewise; none if the search does not support transfer.
        tuned: Folder that tune wrote, for the report.
    """
    import shutil
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import EvaluationConfig
    from ctrloom.runners import display

    artifacts = (*retrained, *(transferred or []), *baselines, deterministic)
    folders = [Path(artifact.path) for artifact in artifacts]
    output = Path(evaluation.path)
    results = stages.evaluate(
        Path(dataset.path),
        Path(search.path),
        folders,
        [int(seed) for seed in seeds],
        EvaluationConfig.parse(settings, "evaluation"),
        name,
        run,
        output,
        Path(tuned.path) if tuned else None,
    )
    tested = {
        f"{model.name}_test_{metric}": model.summary["test"][metric].mean
        for model in results.models
        for metric in ("auc", "logloss")
    }
    display.show_metrics(tested, metrics)
    display.show_classification(results.shown, curve)
    shutil.copy(output / "summary.md", summary.path)
    shutil.copy(output / "report.html", report.path)
