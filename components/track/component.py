"""A run in MLflow and TensorBoard."""

from kfp.dsl import Artifact, Dataset, Input

from components.step import step


@step
def track(
    name: str,
    tracking: dict = {},  # type: ignore[type-arg]  # noqa: B006
    evaluation: Input[Artifact] = None,  # type: ignore[assignment]
    table: Input[Artifact] = None,  # type: ignore[assignment]
    search: Input[Artifact] = None,  # type: ignore[assignment]
    best: Input[Artifact] = None,  # type: ignore[assignment]
    bundles: Input[Artifact] = None,  # type: ignore[assignment]
    tuned: Input[Artifact] = None,  # type: ignore[assignment]
    verdict: Input[Artifact] = None,  # type: ignore[assignment]
    drift: Input[Artifact] = None,  # type: ignore[assignment]
    report: Input[Artifact] = None,  # type: ignore[assignment]
    runs: Input[Artifact] = None,  # type: ignore[assignment]
    dataset: Input[Dataset] = None,  # type: ignore[assignment]
) -> None:
    """Show a finished run in the configured trackers; a tracker that fails is a warning in the log.

    Args:
        name: Name of the run.
        tracking: MLflow, TensorBoard, and a limit of time (section `tracking`); empty: no trackers.
        evaluation: Folder that evaluate wrote.
        table: Folder that compare_table wrote.
        search: Folder that a search wrote.
        best: Bundle of the model to log.
        bundles: Folder of bundles; that of the best model is logged.
        tuned: Folder that tune wrote.
        verdict: Folder that gate wrote.
        drift: Folder that drift wrote.
        report: Folder that report wrote.
        runs: Trainings of a retraining.
        dataset: Manifest of the encoded data set of a tuning.
    """
    from pathlib import Path

    from ctrloom.config.tracking import TrackingConfig
    from ctrloom.tracking import Places, track

    config = TrackingConfig.parse(tracking, "tracking")
    found = {
        "metrics": (evaluation or table, "metrics.json"),
        "page": (evaluation or report or table, "comparison.html" if table else "report.html"),
        "search": (search, ""),
        "bundle": (best or bundles, "best" if bundles else ""),
        "tuning": (tuned, ""),
        "verdict": (verdict, "verdict.json"),
        "drift": (drift, "drift.json"),
        "runs": (runs, ""),
    }
    places = {name: Path(its.path) / file for name, (its, file) in found.items() if its}
    if config.is_on:
        encoded = str(dataset.path) if dataset else None
        track(config, name, Places(**places, dataset=encoded))
