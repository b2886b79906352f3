"""Score files of raw rows with a bundle, or with the champion of a registry."""

from kfp import dsl

from components.batch_predict.component import batch_predict as score
from components.fetch_bundle.component import fetch_bundle
from pipelines.preflight import preflight


@dsl.pipeline(name="batch-prediction")  # KFP takes a pipeline with the name of a step for this step
def batch_predict(
    name: str,
    files: list,  # type: ignore[type-arg]
    store: str,
    bundle: str = "",
    registry: str = "",
    output: str = "",
    keep: list = [],  # type: ignore[type-arg]  # noqa: B006
    format: str = "parquet",
    until: str = "",
    days: int = 1,
    timezone: str = "UTC",
) -> None:
    """Score files: one file of predictions for every input file; finished ones are not written again.

    Args:
        name: Name of the batch prediction.
        files: Raw files: paths, globs or URLs, with {date} for those of a window of days.
        store: Directory in which data sets are kept.
        bundle: Folder, gs:// or s3:// of a bundle; empty for a champion.
        registry: Where versions and champion are kept: a path, gs:// or s3://; empty for a bundle.
        output: Folder of the predictions, gs:// or s3://; scores/<name> in the store by default.
        keep: Columns of the files to write with the scores.
        format: Format of the predictions (parquet, csv or csv.gz).
        until: Last day of the window (2026-11-30, today or yesterday); empty if files have no {date}.
        days: Days in the window.
        timezone: Time zone of today and yesterday.
    """
    fetched = fetch_bundle(bundle=bundle, registry=registry).after(preflight(store))
    score(
        bundle=fetched.outputs["fetched"],
        name=name,
        files=files,
        store=store,
        output=output,
        keep=keep,
        format=format,
        until=until,
        days=days,
        timezone=timezone,
    )


PIPELINES = {"batch_predict": batch_predict}
