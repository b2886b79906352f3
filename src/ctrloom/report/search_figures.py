"""Figures of the search: kept interactions, gates over time, and gates against statistics."""

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle

from ctrloom.report import drawing
from ctrloom.report.drawing import ACCENT, DROPPED, INK, LEVELS, MUTED, PAPER, PLANTED
from ctrloom.search_trace import Candidate, SearchTrace

MANY = 60  # lines above which a figure draws them thin and rasterized
GREY = "#9aa0a8"
NAMED = 6  # number of labelled lines or points
_NAME: dict[str, Any] = {"fontsize": 7.5, "color": ACCENT, "annotation_clip": False}


def gate_map(trace: SearchTrace) -> Markup:
    """Heat map of each pair's gate or score; dropped pairs are pale and have no number."""
    pairs = trace.of_order(2)
    names = list(dict.fromkeys(name for pair in pairs for name in pair.fields))  # in schema order
    place = {name: i for i, name in enumerate(names)}
    size, longest = len(names), max((len(drawing.clipped(n)) for n in names), default=0)
    font = 8.5 if size <= 16 else 7.0
    margin = 0.1 + 0.0085 * font * longest  # width of the longest name, in inches
    square = float(np.clip(0.46 * (size - 1), 3.2, 5.2)) if size <= 16 else 0.165 * (size - 1)
    side = square + margin
    tips: dict[str, str] = {}
    with drawing.style("gate-map"):
        figure, (ax,) = drawing.axes(side, side)
        figure.set_layout_engine("none")
        ax.set_position((margin / side, margin / side, square / side, square / side))
        strengths = [trace.strength(c) for c in pairs if c.kept]
        strongest = max(strengths, default=0.0) or 1.0
        weakest = min(strengths, default=0.0) if trace.by_statistic and len({*strengths}) > 1 else 0.0
        planted = {frozenset(names) for names in trace.planted or ()}
        for i, candidate in enumerate(pairs):
            low, high = sorted(place[name] for name in candidate.fields)
            level = _level(trace.strength(candidate), weakest, strongest)
            colour = LEVELS[level] if candidate.kept else DROPPED
            ax.add_patch(Rectangle((low, high), 0.92, 0.92, facecolor=colour, gid=f"tip{i}"))
            tips[f"tip{i}"] = _tip(candidate, trace.measure)
            if frozenset(candidate.fields) in planted:
                ax.add_patch(Rectangle((low, high), 0.92, 0.92, fill=False, edgecolor=PLANTED, linewidth=1.8))
            if candidate.kept and size <= 16:
                middle, colour = (low + 0.46, high + 0.5), PAPER if level > 2 else INK
                text = _short(candidate.score).replace("-", "−")
                ax.text(*middle, text, ha="center", va="center", fontsize=7, color=colour)
        ax.set(xlim=(-0.04, size - 1), ylim=(size, 0.96))
        labels = [drawing.clipped(name) for name in names]
        ax.set_xticks(np.arange(size - 1) + 0.46, labels[:-1], rotation=90, fontsize=font)
        ax.set_yticks(np.arange(1, size) + 0.46, labels[1:], fontsize=font)
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        _map_legend(ax, trace, weakest, strongest)
        return drawing.inline(figure, f"Heat map of the {trace.measure} of every pair of fields", tips)


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
                ax.annotate(name, (1, y), textcoords="offset points", va="center", **place, **_NAME)
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
            strongest = sorted((c for c in scored if c.kept), key=lambda c: -abs(c.score))
            _name_points(ax, strongest[:NAMED])
            ax.set(xlabel="statistics AUC (validation rows)", title=_order(order))
        panels[0].set_ylabel(f"|{trace.measure}|")
        panels[0].legend(loc="upper left", handletextpad=0.1)
        return drawing.inline(
            figure, f"Scatter of every {trace.measure} against the AUC of counted click rates"
        )


def _name_points(ax: Axes, candidates: list[Candidate]) -> None:
    """Labels next to points, on the left in the right half; labels that would overlap are skipped."""
    taken: list[tuple[float, float, float]] = []  # left end, right end and height, in axes fractions
    inches = ax.get_window_extent().width / ax.figure.dpi
    for candidate in candidates:
        assert candidate.statistics_auc is not None
        name, at = drawing.joined(candidate.fields, 12), (candidate.statistics_auc, abs(candidate.score))
        x, y = ax.transAxes.inverted().transform(ax.transData.transform(at))
        width = 0.07 * len(name) / inches
        left = x - width if x > 0.5 else x
        if any(left < end and left + width > start and abs(y - at_y) < 0.08 for start, end, at_y in taken):
            continue
        taken.append((left, left + width, y))
        place: dict[str, Any] = {"xytext": (-5 if x > 0.5 else 5, 4), "ha": "right" if x > 0.5 else "left"}
        ax.annotate(name, at, textcoords="offset points", **place, **_NAME)


def _map_legend(ax: Axes, trace: SearchTrace, weakest: float, strongest: float) -> None:
    """Colour legend in the empty corner above the diagonal."""
    bounds = [_short(bound) for bound in np.linspace(weakest, strongest, len(LEVELS) + 1)]
    rows: list[tuple[str, dict[str, Any]]] = [
        (f"{bounds[i]}–{bounds[i + 1]}", {"facecolor": LEVELS[i]}) for i in reversed(range(len(LEVELS)))
    ]
    rows.append(("dropped", {"facecolor": DROPPED}))
    if trace.planted:
        rows.append(("planted", {"facecolor": "none", "edgecolor": PLANTED, "linewidth": 1.8}))
    title = trace.measure if trace.by_statistic else f"|{trace.measure}| at the end"
    ax.text(0.99, 0.97, title, ha="right", va="center", fontsize=8, transform=ax.transAxes)
    for i, (text, look) in enumerate(rows, start=1):
        y = 0.965 - 0.055 * i
        ax.add_patch(Rectangle((0.94, y - 0.02), 0.05, 0.04, transform=ax.transAxes, **look))
        ax.text(0.925, y, text, ha="right", va="center", fontsize=7.5, transform=ax.transAxes)


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
