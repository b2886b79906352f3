"""The table over many methods and models, as a page and as CSV, and the plot of quality against size."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markupsafe import Markup

from ctrloom import storage
from ctrloom.config import Published
from ctrloom.evaluation.results import ModelResult, Results
from ctrloom.evaluation.search_analysis import SearchAnalysis
from ctrloom.report import attention_figures, drawing, model_figures, stability_figures, tuning
from ctrloom.report.drawing import ACCENT, INK, MUTED, PAPER, WARM
from ctrloom.report.found_figures import found_figures
from ctrloom.report.pair_map import NUMBERED
from ctrloom.report.render import page_environment
from ctrloom.report.table_verdict import table_verdict, winner
from ctrloom.search_trace import SearchTrace


class Found(NamedTuple):
    """What the searches of one entry found, for the page."""

    title: str
    analysis: SearchAnalysis
    figures: dict[str, Markup]
    first: SearchTrace  # of the first seed
    few_fields: bool
    seconds: dict[str, float]  # of each stage, mean over the seeds, as is the next
    retraining: float

    @property
    def total(self) -> float:
        """Seconds of all stages and of retraining."""
        return sum(self.seconds.values()) + self.retraining


def render(
    results: Results,
    traces: Mapping[str, Sequence[SearchTrace]],
    published: Mapping[str, Published],
    title: str,
    note: str,
    table: Path,
    page: Path,
) -> None:
    """Write the CSV to `table` and the HTML to `page`; `traces` are the searches of each entry by seed.

    Raises:
        StorageError: a file cannot be written.
    """
    environment, style = page_environment()
    figures = {"sizes": sizes(results)}
    if results.comparisons:
        figures["forest"] = model_figures.forest(results)
    if results.stability:
        titles = {each.entry: results.model(each.entry).title for each in results.stability}
        figures["correlations"] = stability_figures.correlations(results.stability, titles)
        figures["seeds"] = stability_figures.seed_scatter(results.stability, traces, titles)
    text = environment.get_template("comparison.jinja").render(
        results=results,
        published=published,
        given={key for paper in published.values() for key, value in paper if value is not None},
        verdict=table_verdict(results),
        winner=winner(results),
        title=title,
        note=note,
        style=style,
        tuned=tuning,
        figures=figures,
        found=_found(results, traces),
        stages=_stages(results.searches),
        attention=attention_figures.of_models(results.models, examples=False),
        config=yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True),
    )
    storage.write_text(table, as_csv(results, published))
    storage.write_text(page, text)


def _stages(searches: Sequence[SearchAnalysis]) -> list[str]:
    """Names of all stages; those of the search that has most are in its order."""
    longest = sorted(searches, key=lambda each: -len(each.stages))
    return list(dict.fromkeys(stage.name for each in longest for stage in each.stages))


def _found(results: Results, traces: Mapping[str, Sequence[SearchTrace]]) -> list[Found]:
    found = []
    for analysis in results.searches:
        own = traces[analysis.model]
        with drawing.part(analysis.model):
            figures = found_figures(own, analysis, results.data.sizes)
        fields = {name for candidate in own[0].of_order(2) for name in candidate.fields}
        model, seconds = results.model(analysis.model), {s.name: s.seconds for s in analysis.stages}
        retraining = model.train_seconds / len(model.seeds)
        few = len(fields) <= NUMBERED
        found.append(Found(model.title, analysis, figures, own[0], few, seconds, retraining))
    return found


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
    seeds = len({each.seed for each in model.seeds})
    line |= {"note": model.note, "seeds": seeds, "trainings": len(model.seeds)}
    for split in ("valid", "test"):
        for metric in ("auc", "logloss"):
            spread = model.summary[split][metric]
            line |= {f"{split}_{metric}": spread.mean, f"{split}_{metric}_sd": spread.sd}
    versus = results.versus_base(model.name)
    for metric in ("auc", "logloss"):
        test = getattr(versus, metric) if versus else None
        line |= {f"{metric}_versus_base": test and test.delta, f"{metric}_p": test and test.p_adjusted}
    line["relative_auc"] = model.relative_auc
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
        **{f"published_{key}": _figure(paper, key) for key in Published.model_fields},
    }


def _figure(paper: Published | None, key: str) -> Any:
    value = getattr(paper, key, None)
    return " + ".join(f"{share:g}" for share in value) if isinstance(value, tuple) else value


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
        drawing.logarithmic(ax.xaxis)
        low = min(m.summary["test"]["auc"].mean for m in models[len(models) // 4 :])
        high = models[-1].summary["test"]["auc"].mean
        if (room := 0.1 * (high - low)) > 0:
            ax.set_ylim(low - room, high + room)  # clip the weakest quarter: it would flatten the rest
        return drawing.inline(figure, "Test AUC against the number of parameters")
