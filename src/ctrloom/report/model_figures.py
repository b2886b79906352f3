"""Figures of the models: difference from the base, ROC, calibration and training curves."""

from typing import Any, Literal

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ctrloom.evaluation.results import ModelResult, Results
from ctrloom.evaluation.significance import Comparison
from ctrloom.report import drawing
from ctrloom.report.drawing import ACCENT, INK, MUTED, PAPER, WARM


def forest(results: Results) -> Markup:
    """Differences to the base with their confidence intervals; filled if significant."""
    count = len(results.comparisons)
    with drawing.style("forest"):
        figure, panels = drawing.axes(9.6, 0.8 + 0.27 * count, 2)
        titles = ("AUC: higher is better", "Logloss: lower is better")
        for ax, metric, title in zip(panels, ("auc", "logloss"), titles, strict=True):
            ax.axvline(0, color=WARM, linewidth=1)
            for y, versus in enumerate(results.comparisons):
                test: Comparison = getattr(versus, metric)
                colour = _colour(results, results.model(versus.model))
                ax.plot(test.interval, [y, y], color=colour, solid_capstyle="butt")
                ax.plot(
                    test.delta,
                    y,
                    "o",
                    markersize=5,
                    color=colour,
                    markerfacecolor=colour if test.significant else PAPER,
                )
            ax.set(title=title, xlabel=f"difference to {drawing.clipped(results.model(results.base).title)}")
            ax.set_ylim(count - 0.4, -0.6)
            ax.grid(axis="y", visible=False)
            ax.spines["left"].set_visible(False)
            ax.tick_params(axis="y", length=0)
            ax.locator_params(axis="x", nbins=5)
        titles_of = [drawing.clipped(results.model(v.model).title, 34) for v in results.comparisons]
        panels[0].set_yticks(range(count), titles_of)
        panels[1].set_yticks(range(count), [""] * count)
        return drawing.inline(figure, "Differences to the base model with confidence intervals")


def roc(results: Results) -> Markup:
    """ROC curves on the test rows, first seed."""
    with drawing.style("roc"):
        figure, (ax,) = drawing.axes(4.7, 4.2)
        ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.7, linestyle=(0, (4, 3)))
        for model in _background_first(results):
            ax.plot(model.roc.false_positive, model.roc.true_positive, **_line(results, model))
        ax.set(
            xlabel="false positive rate",
            ylabel="true positive rate",
            aspect="equal",
            xlim=(0, 1),
            ylim=(0, 1.005),
        )
        _legend(ax, "lower right")
        return drawing.inline(figure, "ROC curves on the test rows")


def calibration(results: Results) -> Markup:
    """Observed against predicted click rate in bins of equal mass: base and retrained models, first seed."""
    with drawing.style("calibration"):
        figure, (ax,) = drawing.axes(4.7, 4.2)
        shown = [m for m in _background_first(results) if m.name == results.base or m.kind == "retrained"]
        largest = 0.0
        for model in shown:
            table = model.seeds[0].test.reliability
            predicted, observed = [b.predicted for b in table], [b.observed for b in table]
            largest = max(largest, *predicted, *observed)
            ax.plot(predicted, observed, marker="o", markersize=3.2, **_line(results, model))
        ax.plot([0, largest], [0, largest], color=MUTED, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
        ax.set(xlabel="mean predicted probability", ylabel="observed click rate", aspect="equal")
        _legend(ax, "upper left")
        return drawing.inline(figure, "Calibration on the test rows")


def training(results: Results) -> Markup:
    """Validation AUC, and logloss in training and validation, by epoch; one line per seed."""
    with drawing.style("training"):
        figure, (left, right) = drawing.axes(9.6, 3.1, 2)
        for model in _background_first(results):
            for i, curve in enumerate(model.curves):
                line = _line(results, model) | ({"label": "_"} if i else {})
                epochs = [e.epoch for e in curve]
                dot: dict[str, Any] = {"marker": "o", "markersize": 2.2}
                left.plot(epochs, [e.valid_auc for e in curve], **line, **dot)
                right.plot(epochs, [e.valid_logloss for e in curve], **line, **dot)
                if model.kind == "retrained" or model.name == results.base:
                    train = [e.train_logloss for e in curve]
                    right.plot(
                        epochs, train, **line | {"linestyle": (0, (3, 2)), "label": "_", "linewidth": 0.9}
                    )
        left.set(xlabel="epoch", title="Validation AUC")
        right.set(xlabel="epoch", title="Logloss: validation solid, training dashed")
        for ax in (left, right):
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        _legend(left, "lower right")
        return drawing.inline(figure, "Training curves by epoch")


def _background_first(results: Results) -> list[ModelResult]:
    rank = {"retrained": 2, "transfer": 0, "control": 0, "baseline": 0}
    return sorted(results.models, key=lambda m: 1 if m.name == results.base else rank[m.kind])


def _colour(results: Results, model: ModelResult) -> str:
    if model.name == results.base:
        return WARM
    return {"retrained": ACCENT, "transfer": INK}.get(model.kind, MUTED)


def _line(results: Results, model: ModelResult) -> dict[str, Any]:
    """Colour and legend entry: the base and the retrained models by name, the others in the background."""
    if model.name == results.base or model.kind == "retrained":
        label = drawing.clipped(model.title, 24)
        return {"color": _colour(results, model), "label": label, "linewidth": 1.4, "zorder": 3}
    return {"color": MUTED, "label": "other models", "linewidth": 0.6, "zorder": 2}


def _legend(ax: Axes, place: Literal["lower right", "upper left"]) -> None:
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))  # one entry per label
    order = sorted(handles, key=lambda label: label == "other models")
    ax.legend([handles[label] for label in order], order, loc=place)
