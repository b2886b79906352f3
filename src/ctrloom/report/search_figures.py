"""Figures of the search: kept interactions, gates over time, and gates against statistics."""

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.collections import LineCollection

from ctrloom.report import drawing
from ctrloom.report.drawing import ACCENT, DROPPED, INK, LEVELS, MUTED, NAME, PAPER
from ctrloom.report.pair_map import Cell, pair_map
from ctrloom.search_trace import Candidate, SearchTrace

MANY = 60  # lines above which a figure draws them thin and rasterized
GREY = "#9aa0a8"
NAMED = 6  # number of labelled lines or points


def gate_map(trace: SearchTrace) -> Markup:
    """Heat map of each pair's gate or score; dropped pairs are pale and have no number."""
    pairs = trace.of_order(2)
    strengths = [trace.strength(c) for c in pairs if c.kept]
    strongest = max(strengths, default=0.0) or 1.0
    weakest = min(strengths, default=0.0) if trace.by_statistic and len({*strengths}) > 1 else 0.0
    cells = []
    for candidate in pairs:
        level, tip = _level(trace.strength(candidate), weakest, strongest), _tip(candidate, trace.measure)
        if candidate.kept:
            text, ink = _short(candidate.score).replace("-", "−"), PAPER if level > 2 else INK
            cells.append(Cell(candidate.fields, LEVELS[level], tip, text, ink))
        else:
            cells.append(Cell(candidate.fields, DROPPED, tip))
    bounds = [_short(bound) for bound in np.linspace(weakest, strongest, len(LEVELS) + 1)]
    shades = [(f"{bounds[i]}–{bounds[i + 1]}", LEVELS[i]) for i in reversed(range(len(LEVELS)))]
    legend = (
        trace.measure if trace.by_statistic else f"|{trace.measure}| at the end",
        [*shades, ("dropped", DROPPED)],
    )
    description = f"Heat map of the {trace.measure} of every pair of fields"
    return pair_map("gate-map", cells, trace.planted or (), legend, description)


def gate_path(trace: SearchTrace) -> Markup:
    """Every candidate's gate over the steps of the search, one panel per order."""
    steps = np.array(trace.path_steps)
    gates_SC = np.array(trace.path_scores, dtype=float).reshape(len(steps), len(trace.candidates))
    with drawing.style("gate-path"):
        figure, panels = drawing.axes(9.6, 3.5, len(trace.orders))
        for ax, order in zip(panels, trace.orders, strict=True):
            chosen = [i for i, c in enumerate(trace.candidates) if c.order == order]
            during = np.isfinite(gates_SC[:, chosen]).all(1)
            lines = {i: np.stack([steps[during], gates_SC[during, i]], 1) for i in chosen}
            dropped = [lines[i] for i in chosen if not trace.candidates[i].kept]
            kept = [i for i in chosen if trace.candidates[i].kept]
            # Rasterized lines do not follow the light or dark scheme: they get a medium colour.
            groups = (dropped, GREY, GREY), ([lines[i] for i in kept], ACCENT, LEVELS[3])
            for group, colour, pixel_colour in groups:
                fine = len(group) > MANY
                look: dict[str, Any] = {"alpha": 0.5, "linewidths": 0.5} if fine else {"linewidths": 0.9}
                look["colors"] = pixel_colour if fine else colour
                ax.add_collection(LineCollection(group, rasterized=fine, **look))
            threshold = np.array(trace.path_threshold)[during]
            ax.plot(steps[during], threshold, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
            ax.autoscale_view()
            ax.margins(x=0.01)
            best = sorted(kept, key=lambda i: -abs(trace.candidates[i].score))[:NAMED]
            ends = {i: float(lines[i][-1, 1]) for i in best if during.any()}
            span = float(np.diff(ax.get_ylim())[0])
            for i, y in _spread(ends, 0.065 * span).items():
                name = drawing.joined(trace.candidates[i].fields, 12)
                place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "xytext": (5, 0)}
                ax.annotate(name, (1, y), textcoords="offset points", va="center", **place, **NAME)
            ax.set(xlabel="step of the search", title=_order(order))
        panels[0].set_ylabel(trace.measure)
        return drawing.inline(figure, f"Lines of every {trace.measure} over the steps of the search")


def gate_and_statistics(trace: SearchTrace) -> Markup:
    """Gate against the AUC of counted click rates, for kept and dropped candidates."""
    with drawing.style("gate-statistics"):
        figure, panels = drawing.axes(9.6, 3.1, len(trace.orders))
        for ax, order in zip(panels, trace.orders, strict=True):
            scored = [c for c in trace.of_order(order) if c.statistics_auc is not None]
            for kept, size, fill, edge in ((False, 14, "none", MUTED), (True, 24, ACCENT, PAPER)):
                points = [(c.statistics_auc, abs(c.score)) for c in scored if c.kept == kept]
                x, y = np.array(points, dtype=float).reshape(-1, 2).T
                look: dict[str, Any] = {"facecolors": fill, "edgecolors": edge, "linewidths": 0.7}
                label, many = "kept" if kept else "dropped", len(points) > 5 * MANY
                ax.scatter(x, y, s=size, zorder=2 + kept, label=label, rasterized=many, clip_on=False, **look)
            ax.set_ylim(bottom=0)
            best = sorted((c for c in scored if c.kept), key=lambda c: -abs(c.score))[:NAMED]
            labels = [(drawing.joined(c.fields, 12), c.statistics_auc or 0.0, abs(c.score)) for c in best]
            drawing.name_points(ax, labels)
            ax.set(xlabel="statistics AUC (validation rows)", title=_order(order))
        panels[0].set_ylabel(f"|{trace.measure}|")
        panels[0].legend(loc="upper left", handletextpad=0.1)
        return drawing.inline(
            figure, f"Scatter of every {trace.measure} against the AUC of counted click rates"
        )


def _level(strength: float, weakest: float, strongest: float) -> int:
    share = (strength - weakest) / ((strongest - weakest) or 1.0)
    return min(max(int(share * len(LEVELS)), 0), len(LEVELS) - 1)


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def _tip(candidate: Candidate, measure: str) -> str:
    values = {
        "statistics AUC": candidate.statistics_auc,
        "mutual information": candidate.mutual_information,
    }
    state = f"{measure} {candidate.score:.4f}" if candidate.kept else "dropped"
    more = [
        f", {name} {value:.4f}"
        for name, value in values.items()
        if value is not None and value != candidate.score
    ]
    return f"{drawing.joined(candidate.fields, 60)}: {state}{''.join(more)}"


def _spread(ends: dict[int, float], gap: float) -> dict[int, float]:
    """Heights of labels, spread to be at least `gap` apart."""
    placed: dict[int, float] = {}
    previous = np.inf
    for i, y in sorted(ends.items(), key=lambda item: -item[1]):
        previous = placed[i] = min(y, previous - gap)
    return placed


def _order(order: int) -> str:
    return {2: "Pairs", 3: "Triples"}.get(order, f"Order {order}")
