"""Shared by all figures: colours that follow the page's light or dark scheme, and clean inline SVG."""

import html
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

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


@contextmanager
def style(name: str) -> Iterator[None]:
    """Style of the figures made inside; `name` makes their SVG ids unique."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
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
