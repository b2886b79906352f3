"""Figures of OptInter: how each pair of fields is modelled, and its mutual information with the label."""

from collections.abc import Collection, Sequence

import numpy as np
from markupsafe import Markup

from ctrloom.evaluation.choices import NAMES, Choice
from ctrloom.evaluation.search_analysis import ChoiceSummary
from ctrloom.report import drawing
from ctrloom.report.drawing import ACCENT, DROPPED, INK, LEVELS, MUTED, PAPER, WARM
from ctrloom.report.pair_map import Cell, Fields, pair_map

MILLI = 1000  # information is shown in thousandths of a nat
_COLOURS = {"memorize": ACCENT, "hadamard": WARM, "none": DROPPED}
_INK = {"memorize": PAPER, "hadamard": PAPER, "none": INK}


def choice_map(chosen: Sequence[Choice], searches: int, planted: Collection[Fields] = ()) -> Markup:
    """The choice for each pair, with its probability, or with the number of several searches that made it."""
    cells = [
        Cell(
            choice.fields,
            _COLOURS[choice.function],
            _tip(choice, searches),
            f"{choice.probability:.2f}" if searches == 1 else f"{choice.searches}/{searches}",
            _INK[choice.function],
        )
        for choice in chosen
    ]
    legend = "choice" if searches == 1 else "most frequent choice"
    entries = [(name, _COLOURS[function]) for function, name in NAMES.items()]
    description = "Map of the choice for every pair of fields"
    return pair_map("choice-map", cells, planted, (legend, entries), description)


def information_map(chosen: Sequence[Choice], planted: Collection[Fields] = ()) -> Markup:
    """Mutual information of each pair with the label; every shade has about equally many pairs (Fig. 5)."""
    known = [choice for choice in chosen if choice.mutual_information is not None]
    nats = np.array([choice.mutual_information for choice in known], float)
    bounds = np.quantile(nats, np.linspace(0, 1, len(LEVELS) + 1))
    level = np.searchsorted(bounds[1:-1], nats, side="right")
    cells = [
        Cell(
            choice.fields,
            LEVELS[shade],
            f"{drawing.joined(choice.fields, 60)}: mutual information {choice.mutual_information:.5f}",
            _milli(value),
            PAPER if shade > 2 else INK,
        )
        for choice, value, shade in zip(known, nats, level, strict=True)
    ]
    shades = [
        (f"{_milli(bounds[i])}–{_milli(bounds[i + 1])}", LEVELS[i]) for i in reversed(range(len(LEVELS)))
    ]
    legend = "0.001 nats", shades
    description = "Heat map of the mutual information of every pair of fields with the label"
    return pair_map("information-map", cells, planted, legend, description)


def information_by_choice(chosen: Sequence[Choice], summaries: Sequence[ChoiceSummary]) -> Markup:
    """Mutual information of the pairs with each choice, and their mean (Fig. 6)."""
    nats = np.array([choice.mutual_information or 0.0 for choice in chosen])
    lowest = float(min(nats[nats > 0], default=1e-9))  # the axis is logarithmic
    with drawing.style("information-by-choice"):
        figure, (ax,) = drawing.axes(9.6, 2.3)
        for y, (function, summary) in enumerate(zip(NAMES, summaries, strict=True)):
            own = np.array([choice.function == function for choice in chosen])
            x = np.maximum(nats[own], lowest)
            drawing.dots(ax, x, drawing.jittered(y, len(x)), 16, _COLOURS[function], MUTED)
            if summary.mutual_information is not None:
                mean = max(summary.mutual_information, lowest)
                ax.plot([mean, mean], [y - 0.38, y + 0.38], color=INK, linewidth=2, zorder=3)
        labels = [
            f"{s.choice} ({s.pairs:g} pair{'s' if s.pairs != 1 else ''})\nmean {_mean(s)}" for s in summaries
        ]
        ax.set_yticks(range(len(summaries)), labels)
        ax.set(xscale="log", xlabel="mutual information with the label, nats")
        drawing.logarithmic(ax.xaxis, digits=3)
        ax.set_ylim(len(summaries) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        return drawing.inline(figure, "Mutual information of the pairs with each choice, and its mean")


def _mean(summary: ChoiceSummary) -> str:
    return "–" if summary.mutual_information is None else f"{summary.mutual_information:.5f}"


def _milli(nats: float) -> str:
    return f"{MILLI * nats:.2g}" if MILLI * nats < 100 else f"{MILLI * nats:.0f}"


def _tip(choice: Choice, searches: int) -> str:
    text = f"{drawing.joined(choice.fields, 60)}: {choice.name}, probability {choice.probability:.3f}"
    text += f", in {choice.searches} of {searches} searches" if searches > 1 else ""
    nats = choice.mutual_information
    return text if nats is None else f"{text}, mutual information {nats:.5f}"
