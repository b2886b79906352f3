"""Shared by all figures: colours that follow the page's light or dark scheme, and clean inline SVG."""

import html
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

# Each colour maps to a variable of style.css, which has a light and a dark value.
INK, MUTED, FAINT, PAPER = "#1b1d21", "#6a6f77", "#d5d8dc", "#fefefd"
ACCENT, WARM, PLANTED, DROPPED = "#1d5a96", "#c2532a", "#a9730a", "#eceef0"
LEVELS = ("#d3e3f1", "#a9c9e4", "#7babd3", "#4c8abf", "#2a69a3", "#164a7c", "#0b2f55")
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    FAINT: "faint",
    PAPER: "paper",
    ACCENT: "accent",
    WARM: "warm",
    PLANTED: "planted",
    DROPPED: "dropped",
    **{colour: f"level-{i}" for i, colour in enumerate(LEVELS)},
}
MANY = 300  # dots above which they are rasterized
NAME: dict[str, Any] = {"fontsize": 7.5, "color": ACCENT, "annotation_clip": False}  # of a labelled mark
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.parse_math": False,  # a field may be named $x$
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.formatter.useoffset": False,
    "axes.formatter.use_mathtext": False,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.3,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}


_part: ContextVar[str] = ContextVar("part", default="")


@contextmanager
def part(name: str) -> Iterator[None]:
    """Figures made inside have other SVG ids than the same figures of another part of the page."""
    token = _part.set(name)
    try:
        yield
    finally:
        _part.reset(token)


@contextmanager
def style(name: str) -> Iterator[None]:
    """Style of the figures made inside; `name` makes their SVG ids unique."""
    salt = f"{_part.get()}/{name}"
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the browser has the glyph
        yield


def axes(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of the given size in inches with a row of axes."""
    return grid(width, height, 1, columns)


def grid(width: float, height: float, lines: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of the given size in inches with a grid of axes, in row-major order."""
    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    return figure, list(figure.subplots(lines, columns, squeeze=False).flat)


def name_points(ax: Axes, points: Iterable[tuple[str, float, float]]) -> None:
    """Labels next to points (name, x, y), on the left in the right half; overlapping ones are skipped."""
    taken: list[tuple[float, float, float]] = []  # left end, right end and height, in axes fractions
    inches = ax.get_window_extent().width / ax.figure.dpi
    for name, right, up in points:
        at = right, up
        x, y = ax.transAxes.inverted().transform(ax.transData.transform(at))
        width = 0.07 * len(name) / inches
        left = x - width if x > 0.5 else x
        if any(left < end and left + width > start and abs(y - at_y) < 0.08 for start, end, at_y in taken):
            continue
        taken.append((left, left + width, y))
        place: dict[str, Any] = {"xytext": (-5 if x > 0.5 else 5, 4), "ha": "right" if x > 0.5 else "left"}
        ax.annotate(name, at, textcoords="offset points", **place, **NAME)


def dots(ax: Axes, x: ArrayLike, y: ArrayLike, size: float, fill: str = "none", edge: str = ACCENT) -> None:
    """Dots with an edge; many of them as pixels, so that the page stays small."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    ax.scatter(
        x,
        y,
        s=size,
        facecolors=fill,
        edgecolors=edge,
        linewidths=0.7,
        rasterized=x.size > MANY,
        clip_on=False,
    )


def jittered(y: float, count: int, within: float = 0.3) -> NDArray:
    """Heights of `count` dots on a line at `y`, spread evenly but not in order (a golden-ratio sequence)."""
    return y + within * (2 * ((np.arange(count) * 0.618033988749895) % 1) - 1)


def logarithmic(axis: Axis, digits: int | None = None) -> None:
    """Ticks of a logarithmic axis as plain numbers: counts, or with this many significant digits."""
    axis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    form = ",.0f" if digits is None else f".{digits}g"
    axis.set_major_formatter(FuncFormatter(lambda value, _: format(value, form)))
    axis.set_minor_formatter(NullFormatter())


def clipped(text: str, length: int = 18) -> str:
    """Text from data as a label: one line, no control characters, not too long."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if len(plain) <= length else plain[: length - 1] + "…"


def joined(fields: tuple[str, ...], length: int = 18) -> str:
    """An interaction as a label."""
    return " × ".join(clipped(name, length) for name in fields)


def inline(figure: Figure, description: str, tips: Mapping[str, str] | None = None) -> Markup:
    """The figure as inline SVG: text stays text, colours become CSS variables.

    `tips` maps the gids of artists to hover texts.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = buffer.getvalue()
    svg = re.sub(
        r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.S
    )
    svg = re.sub(r' (d|points|x|y|transform)="[^"]*"', lambda m: _rounded(m[0]), svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*"|(?<=;) font-family: [^;"]*;', "", svg)  # the page's font
    svg = re.sub(r' style="[^"]*"', lambda m: _themed(m[0]), svg)
    for gid, tip in (tips or {}).items():
        svg = svg.replace(f'<g id="{gid}">', f"<g><title>{html.escape(tip)}</title>", 1)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # unused ids, which repeat in each figure
    head = f'<svg viewBox="{_viewbox(svg)}" role="img" aria-label="{html.escape(description)}">'
    return Markup(head + svg[svg.index(">") + 1 :])


def _viewbox(svg: str) -> str:
    found = re.search(r'viewBox="([^"]*)"', svg)
    assert found, "matplotlib writes a viewBox"
    return found[1]


def _rounded(attribute: str) -> str:
    return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", attribute).replace(" \n", "")


def _themed(attribute: str) -> str:
    def variable(colour: re.Match[str]) -> str:
        return f"var(--{_VARIABLES[colour[0]]})" if colour[0] in _VARIABLES else colour[0]

    return re.sub(r"#[0-9a-f]{6}", variable, attribute)
