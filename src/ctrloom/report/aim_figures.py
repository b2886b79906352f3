"""Figures of AIM: the function chosen for each pair, and the size of each embedding."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.patches import Rectangle

from ctrloom.architecture import FUNCTIONS
from ctrloom.report import drawing
from ctrloom.report.drawing import DROPPED, INK, LEVELS, PAPER
from ctrloom.report.search_figures import gate_map
from ctrloom.search_trace import SearchTrace


def functions(trace: SearchTrace) -> tuple[str, ...]:
    """Functions that an AIM search could choose from; none for other searches."""
    offered = {candidate.function for candidate in trace.candidates}
    return tuple(f for f in FUNCTIONS if f in offered) if trace.method == "aim" else ()


def gate_maps(trace: SearchTrace, functions: Sequence[str]) -> dict[str, Markup]:
    """A heat map of the gates of pairs per function that has any."""
    parts = {f: tuple(c for c in trace.of_order(2) if c.function == f) for f in functions}
    return {f: gate_map(trace.model_copy(update={"candidates": part})) for f, part in parts.items() if part}


def embedding_map(trace: SearchTrace) -> Markup:
    """Number of positions kept, by field and table (order and function)."""
    kept = {(g.field, g.order, g.function): sum(map(bool, g.gates)) for g in trace.embedding_gates}
    whole = max(len(each.gates) for each in trace.embedding_gates)
    used = {field for field, _, _ in kept}
    offered = (name for candidate in trace.candidates for name in candidate.fields)
    fields = list(dict.fromkeys(name for name in (*offered, *sorted(used)) if name in used))
    tables = sorted({key[1:] for key in kept}, key=lambda table: (table[0], FUNCTIONS.index(table[1])))
    font = 8.5 if len(fields) <= 24 else 7.0
    with drawing.style("embedding-map"):
        figure, (ax,) = drawing.axes(9.6, 0.9 + 0.26 * len(fields))
        for y, field in enumerate(fields):
            for x, (order, function) in enumerate(tables):
                size = kept.get((field, order, function))
                if size is None:
                    continue
                level = min(size * len(LEVELS) // (whole + 1), len(LEVELS) - 1)
                look: dict[str, Any] = {"facecolor": LEVELS[level] if size else DROPPED}
                ax.add_patch(Rectangle((x + 0.02, y + 0.04), 0.96, 0.92, linewidth=0, **look))
                colour = PAPER if size and level > 2 else INK
                ax.text(x + 0.5, y + 0.5, str(size), ha="center", va="center", fontsize=7.5, color=colour)
        ax.set(xlim=(0, max(len(tables), 10)), ylim=(len(fields), 0))  # few columns stay narrow
        names = [f"{function.replace('_', chr(10))}\norder {order}" for order, function in tables]
        ax.set_xticks(np.arange(len(tables)) + 0.5, names, fontsize=7.5)
        ax.set_yticks(np.arange(len(fields)) + 0.5, [drawing.clipped(name) for name in fields], fontsize=font)
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        return drawing.inline(figure, f"Positions kept of {whole}, by field, order and function")
