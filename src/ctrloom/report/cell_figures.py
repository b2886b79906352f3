"""Figures of AutoPI: the operator graph, and the strength of each operator on each edge."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path

from ctrloom.architecture import OPERATORS
from ctrloom.report import drawing
from ctrloom.report.drawing import ACCENT, FAINT, INK, LEVELS, MUTED, PAPER
from ctrloom.search_trace import CellName, OperatorStrength, SearchTrace

INPUTS: dict[CellName, tuple[str, ...]] = {
    "interaction": ("embedding",),
    "ensemble": ("interaction\ncell", "second\nembedding"),
}
OUTPUTS: dict[CellName, str] = {"interaction": "1 × 1\nconvolution", "ensemble": "linear,\nsigmoid"}


def graphs(trace: SearchTrace) -> dict[CellName, Markup]:
    """A drawing of each cell: nodes in a row, kept operators as arrows between them."""
    return {cell: _graph(cell, [o for o in trace.operators if o.cell == cell and o.kept]) for cell in INPUTS}


def strength_map(trace: SearchTrace) -> Markup:
    """Operator strengths by edge, for both cells; kept operators are framed."""
    with drawing.style("operator-strengths"):
        figure, panels = drawing.axes(9.6, 4.6, 2)
        for ax, cell in zip(panels, INPUTS, strict=True):
            _strengths(ax, cell, [o for o in trace.operators if o.cell == cell])
        return drawing.inline(figure, "Heat maps of the strength of every operator on every edge")


def _graph(cell: CellName, kept: Sequence[OperatorStrength]) -> Markup:
    inputs, last = INPUTS[cell], max(o.target for o in kept)
    strongest = max(o.strength or 0 for o in kept)
    with drawing.style(f"graph-{cell}"):
        figure, (ax,) = drawing.axes(9.6, 2.8)
        for sign, operator in _sides(kept):
            share = (operator.strength or strongest) / (strongest or 1)
            colour, width = (MUTED, 0.8) if operator.operator == "skip" else (ACCENT, 0.8 + 1.4 * share)
            _arrow(ax, operator, sign, color=colour, linewidth=width)
        ax.plot([len(inputs), last + 1], [0, 0], color=FAINT, linewidth=5, zorder=0)
        for node in range(last + 1):
            first = node < len(inputs)
            fill = PAPER if first else LEVELS[0]
            ax.scatter([node], [0], s=330, facecolor=fill, edgecolor=INK, linewidth=0.8, zorder=3)
            ax.text(node, 0, str(node), ha="center", va="center", fontsize=8.5, zorder=4)
            if first:
                ax.text(node - 0.13, 0, inputs[node], ha="right", va="center", fontsize=8, color=MUTED)
        ax.text(last + 1.05, 0, OUTPUTS[cell], ha="left", va="center", fontsize=8.5)
        above, below = (
            max((_height(o) for side, o in _sides(kept) if side == s), default=0.3) for s in (1, -1)
        )
        ax.set(xlim=(-0.75, last + 1.7), ylim=(-below - 0.15, above + 0.15))
        ax.set_title(f"{cell} cell".capitalize())
        ax.axis("off")
        return drawing.inline(figure, f"The {cell} cell: operators between its nodes")


def _height(operator: OperatorStrength) -> float:
    return 0.2 + 0.3 * (operator.target - operator.source)


def _arrow(ax: Axes, operator: OperatorStrength, sign: int, **look: Any) -> None:
    """An arc from node to node, above the row (sign 1) or below it (-1), with its label at the middle."""
    i, j, height, rim = operator.source, operator.target, _height(operator), 0.11
    control = (height - rim / 4) / 0.75  # control point of a cubic curve whose middle is at `height`
    lean = 0.2 * (j - i)
    corners = [(i, rim), (i + lean, control), (j - lean, control), (j, rim)]
    path = Path([(x, sign * y) for x, y in corners], [Path.MOVETO, *[Path.CURVE4] * 3])
    ax.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=9, **look))
    label = operator.operator + (f" {operator.strength:.2f}" if operator.strength is not None else "")
    box = {"boxstyle": "round,pad=0.15", "facecolor": PAPER, "edgecolor": "none"}
    ax.text((i + j) / 2, sign * height, label, ha="center", va="center", fontsize=8, bbox=box)


def _sides(kept: Sequence[OperatorStrength]) -> list[tuple[int, OperatorStrength]]:
    """Of the edges into a node, the longer is above the row (1), the shorter below it (-1)."""
    found = []
    for operator in sorted(kept, key=lambda o: (o.target, o.source)):
        first = min(o.source for o in kept if o.target == operator.target)
        found.append((1 if operator.source == first else -1, operator))
    return found


def _strengths(ax: Axes, cell: CellName, operators: Sequence[OperatorStrength]) -> None:
    edges = sorted({(o.target, o.source) for o in operators})
    strongest = {target: max(o.strength or 0 for o in operators if o.target == target) for target, _ in edges}
    for operator in operators:
        x, y = OPERATORS.index(operator.operator), edges.index((operator.target, operator.source))
        share = (operator.strength or 0) / strongest[operator.target]
        level = min(int(share * len(LEVELS)), len(LEVELS) - 1)
        ax.add_patch(Rectangle((x + 0.03, y + 0.05), 0.94, 0.9, facecolor=LEVELS[level], linewidth=0))
        if operator.kept:
            ax.add_patch(Rectangle((x + 0.05, y + 0.07), 0.9, 0.86, fill=False, edgecolor=INK, linewidth=1.6))
        colour = PAPER if level > 2 else INK
        text = f"{operator.strength:.3f}".lstrip("0")
        ax.text(x + 0.5, y + 0.52, text, ha="center", va="center", fontsize=7, color=colour)
    ax.set(xlim=(0, len(OPERATORS)), ylim=(len(edges), 0), title=f"{cell} cell".capitalize())
    ax.set_xticks(np.arange(len(OPERATORS)) + 0.5, OPERATORS, fontsize=8)
    ax.set_yticks(np.arange(len(edges)) + 0.5, [f"{i} → {j}" for j, i in edges], fontsize=8)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
