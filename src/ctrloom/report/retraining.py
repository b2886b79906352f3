"""The pages of a scheduled retraining: what drifted, and what the gate decided."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from ctrloom import storage
from ctrloom.evaluation.drift import Drift, FieldDrift
from ctrloom.evaluation.promotion_gate import PromotionVerdict
from ctrloom.report import drawing
from ctrloom.report.drawing import ACCENT, WARM
from ctrloom.report.render import page_environment

SHOWN = 30  # fields in the figure


def render_drift(drift: Drift, output: Path) -> None:
    """Write the drift page.

    Raises:
        StorageError: the file cannot be written.
    """
    _render(drift, None, "Drift", output)


def render_retraining(drift: Drift, verdict: PromotionVerdict, name: str, output: Path) -> None:
    """Write the page of a retraining.

    Raises:
        StorageError: the file cannot be written.
    """
    _render(drift, verdict, name, output)


def _render(drift: Drift, verdict: PromotionVerdict | None, name: str, output: Path) -> None:
    environment, style = page_environment()
    text = environment.get_template("retraining.jinja").render(
        drift=drift,
        fields=strongest(drift.fields),
        shown=SHOWN,
        verdict=verdict,
        name=name,
        style=style,
        figure=bars(drift),
    )
    storage.write_text(output, text)


def strongest(fields: Sequence[FieldDrift]) -> list[FieldDrift]:
    """Fields, those that changed most first."""
    return sorted(fields, key=lambda field: -field.stability)


def bars(drift: Drift) -> Markup:
    """Stability index and unseen share of the fields that changed most; highlighted above the thresholds."""
    fields = strongest(drift.fields)[:SHOWN]
    with drawing.style("drift"):
        figure, panels = drawing.axes(9.6, 0.9 + 0.27 * len(fields), 2)
        columns = (
            ("Stability index", [f.stability for f in fields], drift.config.stability_alarm),
            ("Unseen values, %", [100 * f.unseen_now for f in fields], 100 * drift.config.unseen_alarm),
        )
        for ax, (title, values, alarm) in zip(panels, columns, strict=True):
            colours = [WARM if value > alarm else ACCENT for value in values]
            ax.barh(range(len(fields)), values, color=colours, height=0.62)
            ax.axvline(alarm, color=WARM, linewidth=0.9, linestyle=(0, (4, 3)))
            ax.set(title=title)
            ax.set_ylim(len(fields) - 0.4, -0.6)
            ax.set_xlim(0, 1.05 * max(alarm, *values))
            ax.grid(axis="y", visible=False)
            ax.spines["left"].set_visible(False)
            ax.tick_params(axis="y", length=0)
        panels[0].set_yticks(range(len(fields)), [drawing.clipped(f.name, 34) for f in fields])
        panels[1].set_yticks(range(len(fields)), [""] * len(fields))
        return drawing.inline(figure, "Stability index and share of unseen values by field")
