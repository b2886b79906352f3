"""Drift of rows."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from components.step import step


@step
def drift(
    dataset: Input[Dataset],
    champion: Input[Artifact],
    drift: Output[Artifact],
    page: Output[HTML],
    metrics: Output[Metrics],
    settings: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Compare the rows of a window with those that the champion was trained on.

    Args:
        dataset: Manifest of a data set that grew from the champion's.
        champion: The champion.
        drift: Folder with drift.json and drift.html.
        page: Unseen share and stability index per field, for the Kubeflow UI.
        metrics: Label rates, and the number of exceeded thresholds.
        settings: Groups and thresholds (section `drift`).
    """
    import shutil
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config.retraining import DriftConfig
    from ctrloom.runners import display

    config = DriftConfig.parse(settings, "drift")
    found = stages.drift(Path(dataset.path), Path(champion.path) / "bundle", config, Path(drift.path))
    shutil.copy(Path(drift.path) / "drift.html", page.path)
    figures = {
        "label_rate_before": found.label_rate_before,
        "label_rate_now": found.label_rate_now,
        "alarms": len(found.alarms),
        "largest_stability_index": max(field.stability for field in found.fields),
        "largest_unseen_share": max(field.unseen_now for field in found.fields),
    }
    display.show_metrics(figures, metrics)
