"""The table over many methods and models, as a page and as CSV, and the plot of quality against size."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ctrloom import storage
from ctrloom.config import Published
from ctrloom.evaluation.results import ModelResult, Results
from ctrloom.report import drawing, model_figures, tuning
from ctrloom.report.drawing import ACCENT, INK, MUTED, PAPER, WARM
from ctrloom.report.render import page_environment
from ctrloom.report.table_verdict import table_verdict, winner


def render(
    results: Results, published: Mapping[str, Published], title: str, note: str, table: Path, page: Path
) -> None:
    """Write the CSV to `table` and the HTML to `page`.

    Raises:
        StorageError: a file cannot be written.
    """
    environment, style = page_environment()
    figures = {"sizes": sizes(results)}
    if results.comparisons:
        figures["forest"] = model_figures.forest(results)
    text = environment.get_template("comparison.jinja").render(
        results=results,
        published=published,
        verdict=table_verdict(results),
        winner=winner(results),
        title=title,
        note=note,
        style=style,
        tuned=tuning,
        figures=figures,
        config=yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True),
    )
    storage.write_text(table, as_csv(results, published))
    storage.write_text(page, text)


def as_csv(results: Results, published: Mapping[str, Published]) -> str:
    """One line per model."""
    orders = sorted({order for model in results.models for order in model.kept})
    lines = [_line(results, model, published.get(model.name), orders) for model in results.models]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def _line(results: Results, model: ModelResult, paper: Published | None, orders: list[int]) -> dict[str, Any]:
    line: dict[str, Any] = {"name": model.name, "model": model.title, "kind": model.kind}
    line |= {"note": model.note, "seeds": len(model.seeds)}
    for split in ("valid", "test"):
        for metric in ("auc", "logloss"):
            spread = model.summary[split][metric]
            line |= {f"{split}_{metric}": spread.mean, f"{split}_{metric}_sd": spread.sd}
    versus = results.versus_base(model.name)
    for metric in ("auc", "logloss"):
        test = getattr(versus, metric) if versus else None
        line |= {f"{metric}_versus_base": test and test.delta, f"{metric}_p": test and test.p_adjusted}
    for order in orders:
        kept = model.kept.get(order)
        line[f"kept_percent_order_{order}"] = None if kept is None else 100 * kept / model.candidates[order]
    return line | {
        "gauc": model.gauc["test"].mean if "test" in model.gauc else None,
        "parameters": model.parameters,
        "dense_parameters": model.size and model.size.dense,
        "flops_per_row": model.size and model.size.flops,
        "search_seconds": model.search_seconds,
        "train_seconds": model.train_seconds,
        "inference_rows_per_second": model.inference_rows_per_second,
        "published_auc": paper and paper.auc,
        "published_logloss": paper and paper.logloss,
        "published_split": paper and paper.split,
    }


def sizes(results: Results) -> Markup:
    """Test AUC against the number of parameters (as OptInter's Fig. 4)."""
    models = sorted(results.models, key=lambda model: model.summary["test"]["auc"].mean)
    with drawing.style("sizes"):
        figure, (ax,) = drawing.axes(9.6, 4.6)
        for model in models:
            colour = WARM if model.name == results.base else ACCENT if model.kind != "baseline" else MUTED
            auc = model.summary["test"]["auc"]
            ax.errorbar(
                model.parameters,
                auc.mean,
                yerr=auc.sd or 0.0,
                fmt="o",
                color=colour,
                markersize=5,
                elinewidth=0.8,
                markerfacecolor=PAPER if model.kind == "control" else colour,
            )
            ax.annotate(
                drawing.clipped(model.title, 26),
                (model.parameters, auc.mean),
                xytext=(5, 3),
                textcoords="offset points",
                fontsize=7.5,
                color=INK if model.kind != "control" else MUTED,
            )
        ax.set(xscale="log", xlabel="parameters", ylabel="test AUC")
        ax.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        low = min(m.summary["test"]["auc"].mean for m in models[len(models) // 4 :])
        high = models[-1].summary["test"]["auc"].mean
        if (room := 0.1 * (high - low)) > 0:
            ax.set_ylim(low - room, high + room)  # clip the weakest quarter: it would flatten the rest
        return drawing.inline(figure, "Test AUC against the number of parameters")
