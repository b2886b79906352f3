"""Figures of the agreement of searches with different seeds."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from ctrloom.evaluation.stability import Stability, aligned_scores
from ctrloom.report import drawing
from ctrloom.report.drawing import INK, MUTED
from ctrloom.report.format import fixed
from ctrloom.search_trace import SearchTrace

ABREAST = 3  # searches per row


def correlations(agreements: Sequence[Stability], titles: Mapping[str, str]) -> Markup:
    """Pearson's correlation of the scores of each pair of seeds, by search (AutoFIS, section 4.7.1)."""
    lines = list(range(len(agreements)))
    with drawing.style("seed-correlations"):
        figure, (ax,) = drawing.axes(9.6, 0.85 + 0.34 * len(lines))
        labels = []
        for y, each in enumerate(agreements):
            known = [pair.pearson for pair in each.pairs if pair.pearson is not None]
            drawing.dots(ax, known, drawing.jittered(y, len(known), 0.2), 20)
            labels.append(f"{drawing.clipped(titles[each.entry], 34)}\n{_mean_and_range(known)}")
            if known:
                mean = fmean(known)
                ax.plot([mean, mean], [y - 0.32, y + 0.32], color=INK, linewidth=2, zorder=3)
        ax.set_yticks(lines, labels)
        ax.set(xlabel="Pearson correlation of two seeds", ylim=(len(lines) - 0.5, -0.5))
        ax.set_xlim(min(0.0, ax.get_xlim()[0]), 1)
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
        return drawing.inline(figure, "Pearson correlations of the scores of every pair of seeds, by search")


def _mean_and_range(values: Sequence[float]) -> str:
    if not values:
        return "all scores of a search are equal"
    mean, low, high = (fixed(v, 2) for v in (fmean(values), min(values), max(values)))
    return f"mean {mean}" if len(values) == 1 else f"mean {mean}, {low} to {high}"


def seed_scatter(
    agreements: Sequence[Stability], traces: Mapping[str, Sequence[SearchTrace]], titles: Mapping[str, str]
) -> Markup:
    """Scores of all candidates in the first seed against each other seed; dashed: equal scores."""
    rows = -(-len(agreements) // ABREAST)
    with drawing.style("seed-scatter"):
        figure, panels = drawing.grid(3.2 * ABREAST, 3.3 * rows, rows, ABREAST)
        for ax in panels[len(agreements) :]:
            ax.set_visible(False)
        for ax, each in zip(panels, agreements, strict=False):
            _, score_SK = aligned_scores(traces[each.entry])
            others_RK = score_SK[1:]
            first_RK = np.broadcast_to(score_SK[0], others_RK.shape)
            span = float(score_SK.min()), float(score_SK.max())
            ax.plot(span, span, color=MUTED, linewidth=0.7, linestyle=(0, (4, 3)))
            drawing.dots(ax, first_RK, others_RK, 12)
            ax.set(title=drawing.clipped(titles[each.entry], 30), aspect="equal")
            ax.set_xlabel(f"{each.measure}, seed {each.seeds[0]}")
            ax.set_ylabel("other seeds" if len(each.seeds) > 2 else f"seed {each.seeds[1]}")
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_locator(MaxNLocator(nbins=4))
        return drawing.inline(figure, "Scores of the candidates in the first seed against other seeds")
