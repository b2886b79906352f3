"""Heat map of pairs of fields: one cell per pair, below the diagonal."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.patches import Rectangle

from ctrloom.report import drawing
from ctrloom.report.drawing import INK, PLANTED

NUMBERED = 16  # maximum number of fields to print the text of each cell
LEGEND = 4.2  # inches of a map above which its legend does not grow with it
Fields = tuple[str, ...]


@dataclass(frozen=True)
class Cell:
    """One pair: its colour, a number or less in it, and a hover text."""

    fields: Fields
    colour: str
    tip: str
    text: str = ""
    ink: str = INK


def pair_map(
    name: str,
    cells: Sequence[Cell],
    planted: Collection[Fields],
    legend: tuple[str, Sequence[tuple[str, str]]],
    description: str,
) -> Markup:
    """The map as SVG; `legend` has its heading, and the text and colour of each entry."""
    names = field_order([cell.fields for cell in cells])
    place = {field: i for i, field in enumerate(names)}
    size, longest = len(names), max((len(drawing.clipped(n)) for n in names), default=0)
    font = 8.5 if size <= NUMBERED else 7.0
    margin = 0.1 + 0.0085 * font * longest  # width of the longest name, in inches
    square = float(np.clip(0.46 * (size - 1), 3.2, 5.2)) if size <= NUMBERED else 0.165 * (size - 1)
    side = square + margin
    outlined, tips = {frozenset(fields) for fields in planted}, {}
    with drawing.style(name):
        figure, (ax,) = drawing.axes(side, side)
        figure.set_layout_engine("none")
        ax.set_position((margin / side, margin / side, square / side, square / side))
        for i, cell in enumerate(cells):
            low, high = sorted(place[field] for field in cell.fields)
            ax.add_patch(Rectangle((low, high), 0.92, 0.92, facecolor=cell.colour, gid=f"tip{i}"))
            tips[f"tip{i}"] = cell.tip
            if frozenset(cell.fields) in outlined:
                ax.add_patch(Rectangle((low, high), 0.92, 0.92, fill=False, edgecolor=PLANTED, linewidth=1.8))
            if cell.text and size <= NUMBERED:
                middle = low + 0.46, high + 0.5
                ax.text(*middle, cell.text, ha="center", va="center", fontsize=7, color=cell.ink)
        ax.set(xlim=(-0.04, size - 1), ylim=(size, 0.96))
        labels = [drawing.clipped(field) for field in names]
        ax.set_xticks(np.arange(size - 1) + 0.46, labels[:-1], rotation=90, fontsize=font)
        ax.set_yticks(np.arange(1, size) + 0.46, labels[1:], fontsize=font)
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        heading, entries = legend
        rows: list[tuple[str, dict[str, Any]]] = [(text, {"facecolor": colour}) for text, colour in entries]
        if planted:
            rows.append(("planted", {"facecolor": "none", "edgecolor": PLANTED, "linewidth": 1.8}))
        unit = min(1.0, LEGEND / square)
        within: dict[str, Any] = {"transform": ax.transAxes}
        ax.text(0.99, 0.97, heading, ha="right", va="center", fontsize=8, **within)
        for i, (text, look) in enumerate(rows, start=1):
            y, left = 0.965 - 0.055 * unit * i, 0.99 - 0.05 * unit
            ax.add_patch(Rectangle((left, y - 0.02 * unit), 0.05 * unit, 0.04 * unit, **within, **look))
            ax.text(left - 0.015 * unit, y, text, ha="right", va="center", fontsize=7.5, **within)
        return drawing.inline(figure, description, tips)


def field_order(pairs: Sequence[Fields]) -> list[str]:
    """Fields in schema order: a field comes after all that a pair names before it."""
    first = [low for low, _ in pairs]
    return list(dict.fromkeys([*first, *(high for _, high in pairs if high not in first)]))
