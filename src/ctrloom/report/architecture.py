"""An architecture as text and as a picture, for viewers outside of the report."""

import io

import numpy as np

from ctrloom.architecture import Architecture

MOST = 200  # interactions in a table
WIDEST = 100  # fields in a picture


def architecture_markdown(architecture: Architecture) -> str:
    """What a search kept: counts, and the interactions, the strongest first."""
    counts = ", ".join(
        f"{len(architecture.of_order(order))} of order {order}"
        for order in sorted({each.order for each in architecture.interactions})
    )
    lines = [
        f"Method {architecture.method}, {len(architecture.fields)} fields: {counts or 'no interactions'}."
    ]
    if architecture.interactions:
        ranked = sorted(architecture.interactions, key=lambda each: -abs(each.score or 0.0))
        rows = [
            f"| {_cell(' x '.join(each.fields))} | {each.function} | "
            f"{'' if each.score is None else f'{each.score:.4g}'} |"
            for each in ranked[:MOST]
        ]
        lines += ["\n".join(["| interaction | function | score |", "|---|---|--:|", *rows])]
        if len(ranked) > MOST:
            lines += [f"{len(ranked) - MOST} more are in architecture.json."]
    if cells := architecture.cells:
        for name, edges in (("Interaction", cells.interaction), ("Ensemble", cells.ensemble)):
            drawn = ", ".join(f"{edge.source} to {edge.target}: {edge.operator}" for edge in edges)
            lines += [f"{name} cell: {drawn}."]
    return "\n\n".join(lines) + "\n"


def architecture_picture(architecture: Architecture) -> bytes | None:
    """A heat map of the kept pairs as PNG, the strongest darkest; None without pairs or with many fields."""
    pairs = [each for each in architecture.interactions if each.order == 2]
    if not pairs or len(architecture.fields) > WIDEST:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from ctrloom.report import drawing

    names = architecture.fields
    place = {name: i for i, name in enumerate(names)}
    strength_FF = np.full((len(names), len(names)), np.nan)
    for each in pairs:
        low, high = (place[name] for name in each.fields)
        strength_FF[high, low] = np.nanmax([strength_FF[high, low], abs(each.score or 0.0)])
    side = float(np.clip(0.3 * len(names), 4, 14))
    with drawing.style("architecture"):
        figure, (ax,) = drawing.axes(side + 1, side)
        FigureCanvasAgg(figure)
        image = ax.imshow(strength_FF, cmap="Blues", vmin=0)
        labels = [drawing.clipped(name) for name in names]
        ax.set_xticks(range(len(names)), labels, rotation=90)
        ax.set_yticks(range(len(names)), labels)
        ax.grid(False)
        figure.colorbar(image, label="|score| of a kept pair")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
