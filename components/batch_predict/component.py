"""Predictions for files of raw rows."""

from kfp.dsl import Dataset, Input, Markdown, Metrics, Model, Output

from components.step import step


@step
def batch_predict(
    bundle: Input[Model],
    scores: Output[Dataset],
    summary: Output[Markdown],
    metrics: Output[Metrics],
    name: str,
    files: list,  # type: ignore[type-arg]
    store: str,
    output: str = "",
    keep: list = [],  # type: ignore[type-arg]  # noqa: B006
    format: str = "parquet",
    until: str = "",
    days: int = 1,
    timezone: str = "UTC",
) -> None:
    """Score raw rows: a file of probabilities for every input file.

    Args:
        bundle: The model with its schema and vocabularies.
        scores: Folder with scores.json, which lists the files of predictions, and summary.md.
        summary: Missing and unseen values of every field, compared with the training rows.
        metrics: Rows, malformed rows, and the largest shares of missing and unseen values.
        name: Name of the batch prediction.
        files: Raw files: paths, globs or URLs, with {date} for those of a window of days.
        store: Directory in which data sets are kept.
        output: Folder of the predictions, gs:// or s3://; scores/<name> in the store by default.
        keep: Columns of the files to write with the scores.
        format: Format of the predictions (parquet, csv or csv.gz).
        until: Last day of the window (2026-11-30, today or yesterday); empty if files have no {date}.
        days: Days in the window.
        timezone: Time zone of today and yesterday.
    """
    import shutil
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config.batch import BatchConfig
    from ctrloom.runners import display

    given = {"name": name, "files": files, "keep": keep, "format": format, "days": days, "timezone": timezone}
    given |= {key: value for key, value in {"output": output, "until": until}.items() if value}
    config = BatchConfig.parse(given, "batch_predict")
    found = stages.batch_predict(Path(bundle.path), config, store, Path(scores.path))
    shutil.copy(Path(scores.path) / "summary.md", summary.path)
    display.show_metrics(found.figures, metrics)
