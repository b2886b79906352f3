"""Figures of OptInter: how each pair of fields is modelled."""

from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ctrloom.report import drawing
from ctrloom.report.drawing import ACCENT, DROPPED, INK, PAPER, PLANTED, WARM
from ctrloom.search_trace import SearchTrace

NAMES = {"memorize": "memorize", "hadamard": "factorize", "none": "leave out"}
_COLOURS = {"memorize": ACCENT, "hadamard": WARM, "none": DROPPED}
_INK = {"memorize": PAPER, "hadamard": PAPER, "none": INK}


class Choice(NamedTuple):
    """What a search chose for one pair."""

    fields: tuple[str, ...]
    function: str
    probability: float
    mutual_information: float | None
    statistics_auc: float | None
    p_value: float | None

    @property
    def name(self) -> str:
        """Display name of the choice."""
        return NAMES[self.function]


def choices(trace: SearchTrace) -> list[Choice]:
    """How each pair is modelled, by descending mutual information; OptInter only."""
    if trace.method != "optinter":
        return []
    best: dict[tuple[str, ...], Choice] = {}
    for c in sorted(trace.of_order(2), key=lambda c: c.kept):  # what is kept last; otherwise left out
        if c.kept or c.function == "none":
            figures = c.mutual_information, c.statistics_auc, c.p_value
            best[c.fields] = Choice(c.fields, c.function, c.score, *figures)
    return sorted(best.values(), key=lambda choice: -(choice.mutual_information or 0.0))


def choice_map(trace: SearchTrace) -> Markup:
    """Heat map of the choice for each pair of fields, with its probability."""
    chosen = choices(trace)
    names = list(dict.fromkeys(name for c in trace.of_order(2) for name in c.fields))
    names.sort(key=_order(trace).index)
    place = {name: i for i, name in enumerate(names)}
    side = float(np.clip(0.46 * len(names), 3.6, 9.0)) + 1.3
    planted = {frozenset(pair) for pair in trace.planted or ()}
    tips = {}
    with drawing.style("choice-map"):
        figure, (ax,) = drawing.axes(side, side)
        for i, choice in enumerate(chosen):
            low, high = sorted(place[name] for name in choice.fields)
            look: dict[str, Any] = {"facecolor": _COLOURS[choice.function], "linewidth": 0}
            ax.add_patch(Rectangle((low, high), 0.92, 0.92, gid=f"tip{i}", **look))
            tips[f"tip{i}"] = _tip(choice)
            if frozenset(choice.fields) in planted:
                ax.add_patch(Rectangle((low, high), 0.92, 0.92, fill=False, edgecolor=PLANTED, linewidth=1.8))
            if len(names) <= 16:
                text = f"{choice.probability:.2f}"
                look = {"fontsize": 7, "color": _INK[choice.function]}
                ax.text(low + 0.46, high + 0.5, text, ha="center", va="center", **look)
        labels = [drawing.clipped(name) for name in names]
        ax.set(xlim=(-0.04, len(names) - 1), ylim=(len(names), 0.96))
        ax.set_xticks(np.arange(len(names) - 1) + 0.46, labels[:-1], rotation=90, fontsize=8)
        ax.set_yticks(np.arange(1, len(names)) + 0.46, labels[1:], fontsize=8)
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        _legend(ax)
        return drawing.inline(figure, "Map of the choice for every pair of fields", tips)


def _order(trace: SearchTrace) -> list[str]:
    """Fields in schema order: a field comes after all that a pair names before it."""
    first = [c.fields[0] for c in trace.of_order(2)]
    second = [c.fields[1] for c in trace.of_order(2)]
    return list(dict.fromkeys([*first, *(name for name in second if name not in first)]))


def _legend(ax: Axes) -> None:
    """Colour legend in the empty corner above the diagonal."""
    for i, (function, name) in enumerate(NAMES.items()):
        y = 0.97 - 0.055 * i
        ax.add_patch(
            Rectangle((0.94, y - 0.02), 0.05, 0.04, transform=ax.transAxes, facecolor=_COLOURS[function])
        )
        ax.text(0.925, y, name, ha="right", va="center", fontsize=7.5, transform=ax.transAxes)


def _tip(choice: Choice) -> str:
    text = f"{drawing.joined(choice.fields, 60)}: {choice.name}, probability {choice.probability:.3f}"
    nats = choice.mutual_information
    return text if nats is None else f"{text}, mutual information {nats:.5f}"
