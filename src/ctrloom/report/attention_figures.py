"""Figures of attention: which fields each field attends to, per layer.

F fields.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from ctrloom.evaluation.results import Attention, AttentionMap, ModelResult
from ctrloom.report import drawing
from ctrloom.report.drawing import INK, LEVELS, PAPER

NUMBERED = 10  # maximum number of fields to print a number in each cell
ABREAST = 3  # layers per row
WIDTH = 9.6
LETTER = 0.066  # width of a letter of a label, in inches


def of_models(models: Iterable[ModelResult], examples: bool = True) -> dict[str, dict[str, Any]]:
    """The figures of every model with attention, by its name, and the upper end of their colour scale."""
    found = {}
    for model in models:
        if about := model.attention:
            with drawing.part(model.name):
                maps: dict[str, Any] = {"mean": mean_map(about), "darkest": darkest(about)}
                found[model.name] = maps | ({"example": example_map(about)} if examples else {})
    return found


def mean_map(attention: Attention) -> Markup:
    """Attention over all validation rows."""
    return _figure("attention", attention, attention.layers, attention.fields)


def example_map(attention: Attention) -> Markup:
    """Attention in the example row; labels include the values of the fields."""
    example = attention.example
    pairs = zip(attention.fields, example.values, strict=True)
    named = [f"{drawing.clipped(name, 14)}: {drawing.clipped(value)}" for name, value in pairs]
    return _figure("attention-example", attention, example.layers, named)


def darkest(attention: Attention) -> float:
    """Upper end of the colour scale; uniform attention gets a middle shade."""
    return max(np.max(attention.layers), np.max(attention.example.layers), 2 / len(attention.fields))


def _figure(name: str, attention: Attention, layers: Sequence[AttentionMap], lines: Sequence[str]) -> Markup:
    columns = [drawing.clipped(field) for field in attention.fields]
    abreast = min(ABREAST, len(layers))
    rows = -(-len(layers) // abreast)
    side = (WIDTH - LETTER * max(map(len, lines))) / ABREAST
    height = rows * (side + 0.35) + LETTER * max(map(len, columns))
    with drawing.style(name):
        figure, panels = drawing.grid(WIDTH, height, rows, abreast)
        for number, ax in enumerate(panels):
            if number >= len(layers):
                ax.set_visible(False)
                continue
            _cells(ax, np.array(layers[number]), darkest(attention))
            below, left = number + abreast >= len(layers), number % abreast == 0
            places, none = np.arange(len(lines)) + 0.46, [""] * len(lines)
            font = 7.5 if len(lines) <= 16 else 5.0
            ax.set_xticks(places, columns if below else none, rotation=90, fontsize=font)
            ax.set_yticks(places, lines if left else none, fontsize=font)
            ax.set_title(f"Layer {number + 1}")
        return drawing.inline(figure, "Heat maps of attention between fields, one per layer")


def _cells(ax: Axes, weight_FF: np.ndarray, largest: float) -> None:
    size = len(weight_FF)
    level_FF = np.minimum((weight_FF / largest * len(LEVELS)).astype(int), len(LEVELS) - 1)
    for level, colour in enumerate(LEVELS):  # one path per colour keeps the SVG small
        cells = [_cell(x, y) for y, x in zip(*np.nonzero(level_FF == level), strict=True)]
        if cells:
            ax.add_patch(PathPatch(Path.make_compound_path(*cells), facecolor=colour, linewidth=0))
    if size <= NUMBERED:
        for (y, x), weight in np.ndenumerate(weight_FF):
            ink = PAPER if level_FF[y, x] > 2 else INK
            ax.text(x + 0.46, y + 0.5, f"{weight:.2f}", ha="center", va="center", fontsize=6.5, color=ink)
    ax.set(xlim=(-0.04, size), ylim=(size, -0.04), aspect="equal")
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)


def _cell(x: int, y: int) -> Path:
    return Path([(x, y), (x + 0.92, y), (x + 0.92, y + 0.92), (x, y + 0.92), (x, y)], closed=True)
