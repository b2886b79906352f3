"""Figures of AIM: the functions of what was kept, and the sizes of embeddings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ctrloom.architecture import FUNCTIONS
from ctrloom.evaluation.search_analysis import FieldPositions, FunctionSummary
from ctrloom.report import drawing
from ctrloom.report.drawing import ACCENT, DROPPED, INK, LEVELS, MUTED, PAPER
from ctrloom.report.format import count, fixed
from ctrloom.report.search_figures import gate_map
from ctrloom.search_trace import Candidate, SearchTrace


def functions(trace: SearchTrace) -> tuple[str, ...]:
    """Functions that an AIM search could choose from; none for other searches."""
    offered = {candidate.function for candidate in trace.candidates}
    return tuple(f for f in FUNCTIONS if f in offered) if trace.method == "aim" else ()


def gate_maps(trace: SearchTrace, functions: Sequence[str]) -> dict[str, Markup]:
    """A heat map of the gates of pairs per function that has any."""
    parts = {f: tuple(c for c in trace.of_order(2) if c.function == f) for f in functions}
    return {f: gate_map(trace.model_copy(update={"candidates": part})) for f, part in parts.items() if part}


def functions_by_order(summaries: Sequence[FunctionSummary], traces: Sequence[SearchTrace]) -> Markup:
    """How many interactions each function keeps (Fig. 8), and the statistics-AUC of kept and dropped ones."""
    lines = list(range(len(summaries)))
    with drawing.style("functions"):
        figure, (left, right) = drawing.axes(9.6, 0.9 + 0.42 * len(lines), 2)
        left.barh(lines, [each.kept for each in summaries], height=0.6, color=ACCENT)
        for y, each in enumerate(summaries):
            left.annotate(
                f"{_mean_count(each.kept)} of {_mean_count(each.candidates)}",
                (each.kept, y),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=7.5,
            )
            _statistics(right, y, each, [c for trace in traces for c in trace.of_order(each.order)])
        names = [f"order {each.order}, {each.function.replace('_', ' ')}" for each in summaries]
        left.set_yticks(lines, names)
        right.set_yticks(lines, [""] * len(lines))
        right.set_visible(any(c.statistics_auc is not None for trace in traces for c in trace.candidates))
        left.set(title="Interactions kept", xlim=(0, 1.3 * max(1.0, *(each.kept for each in summaries))))
        right.set(title="Statistics AUC: kept filled, dropped hollow, lines are means")
        for ax in (left, right):
            ax.set_ylim(len(lines) - 0.5, -0.5)
            ax.set_axisbelow(True)
            ax.grid(axis="y", visible=False)
            ax.tick_params(axis="y", length=0)
        left.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        return drawing.inline(
            figure, "Number of interactions kept by order and function, and the statistics AUC of each"
        )


def _mean_count(value: float) -> str:
    return count(value) if value == round(value) else fixed(value, 1)


def _statistics(ax: Axes, y: int, summary: FunctionSummary, candidates: Sequence[Candidate]) -> None:
    scored = [c for c in candidates if c.function == summary.function and c.statistics_auc is not None]
    sides = (
        (False, 0.2, "none", MUTED, summary.dropped_statistics_auc),
        (True, -0.2, ACCENT, PAPER, summary.kept_statistics_auc),
    )
    for kept, shift, fill, edge, mean in sides:
        x = [c.statistics_auc for c in scored if c.kept == kept]
        drawing.dots(ax, np.array(x, float), drawing.jittered(y + shift, len(x), 0.14), 13, fill, edge)
        if mean is not None:
            ax.plot([mean, mean], [y + shift - 0.19, y + shift + 0.19], color=INK, linewidth=1.8, zorder=3)


def positions_by_ids(fields: Sequence[FieldPositions]) -> Markup:
    """Embedding positions that each field keeps against its number of ids (Table 6)."""
    with drawing.style("positions-by-ids"):
        figure, (ax,) = drawing.axes(9.6, 3.1)
        drawing.dots(ax, [e.ids for e in fields], [e.positions for e in fields], 24, ACCENT, PAPER)
        ax.set(xscale="log", xlabel="ids of the field", ylabel="positions kept, all tables")
        ax.set_ylim(bottom=0)
        drawing.logarithmic(ax.xaxis)
        largest = sorted(fields, key=lambda each: (-each.positions, -each.ids))
        drawing.name_points(ax, [(drawing.clipped(e.field), e.ids, e.positions) for e in largest])
        return drawing.inline(figure, "Embedding positions kept against the number of ids, by field")


def embedding_map(trace: SearchTrace, ids: Mapping[str, int]) -> Markup:
    """Number of positions kept, by field and table (order and function), next to the ids of each field."""
    kept = {(g.field, g.order, g.function): g.kept for g in trace.embedding_gates}
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
        labels = [f"{drawing.clipped(field)} ({count(ids[field])})" for field in fields]
        ax.set_yticks(np.arange(len(fields)) + 0.5, labels, fontsize=font)
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        return drawing.inline(figure, f"Positions kept of {whole}, by field, order and function")
