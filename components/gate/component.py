"""Champion or challenger."""

from kfp.dsl import Artifact, Dataset, Input, Markdown, Metrics, Model, Output

from components.step import step


@step
def gate(
    ingested: Input[Dataset],
    challenger: Input[Model],
    champion: Input[Artifact],
    verdict: Output[Artifact],
    summary: Output[Markdown],
    metrics: Output[Metrics],
    gate: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> bool:
    """Decide whether a challenger replaces the champion: both score the newest rows of the window.

    Args:
        ingested: Manifest of clean rows; the test split has the newest.
        challenger: Bundle of the challenger.
        champion: The champion.
        verdict: Folder with verdict.json and verdict.md.
        summary: Every check with its figures.
        metrics: AUC and logloss of both.
        gate: Thresholds (section `gate`).
    """
    import shutil
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config.promotion_gate import PromotionGateConfig
    from ctrloom.runners import display

    output = Path(verdict.path)
    decided = stages.gate(
        Path(ingested.path),
        Path(challenger.path),
        Path(champion.path),
        PromotionGateConfig.parse(gate, "gate"),
        output,
    )
    shutil.copy(output / "verdict.md", summary.path)
    sides = {"challenger": decided.challenger, "champion": decided.champion}
    scored = {
        f"{name}_{metric}": getattr(side.metrics, metric)
        for name, side in sides.items()
        if side
        for metric in ("auc", "logloss", "calibration_ratio")
    }
    display.show_metrics(scored, metrics)
    return decided.promote
