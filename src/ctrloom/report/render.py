"""Renders the report as one self-contained HTML page."""

from pathlib import Path

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ctrloom import storage
from ctrloom.evaluation.choices import by_information, choices_of
from ctrloom.evaluation.results import Results
from ctrloom.report import (
    aim_figures,
    attention_figures,
    drawing,
    format,
    model_figures,
    search_figures,
    summary,
    tuning,
)
from ctrloom.report.found_figures import found_figures
from ctrloom.report.pair_map import NUMBERED
from ctrloom.report.table_verdict import winner
from ctrloom.report.verdict import retrained, summarize
from ctrloom.search_trace import SearchTrace

SHOWN = 10  # interactions that a ranking shows; the rest is collapsed
FIELDS = 40  # fields that the table of fields shows; the rest is collapsed

FORMATS = (
    "fixed",
    "signed",
    "change",
    "count",
    "percent",
    "p_value",
    "interval",
    "level",
    "rate",
    "duration",
    "inline",
)


def render(results: Results, search: SearchTrace | None, output: Path) -> None:
    """Write the report to `output`; without a search, it only compares models.

    Raises:
        StorageError: the file cannot be written.
    """
    environment, style = page_environment()
    chosen = by_information(choices_of([search])) if search else []
    page = environment.get_template("page.jinja").render(
        results=results,
        search=search,
        style=style,
        tuned=tuning,
        verdict=summarize(results, search),
        found=retrained(results),
        winner=winner(results),
        orders=summary.orders,
        rankings={order: summary.ranking(search, order) for order in search.orders} if search else {},
        planted=summary.planted(search) if search else None,
        tested=search is not None and any(c.p_value is not None for c in search.candidates),
        informed=search is not None and any(c.mutual_information is not None for c in search.candidates),
        relations=summary.relations(search) if search and not chosen else [],
        figures=_figures(results, search),
        attention=attention_figures.of_models(results.models),
        analysis=results.searches[0] if results.searches else None,
        config=yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True),
        functions=aim_figures.functions(search) if search else (),
        choices=chosen,
        searches=1,
        few_fields=search is not None and 0 < _mapped(search) <= NUMBERED,
        shown=SHOWN,
        fields_shown=FIELDS,
    )
    storage.write_text(output, page)


def page_environment() -> tuple[Environment, Markup]:
    """Templates with their filters, and the style sheet of every page."""
    loader = PackageLoader("ctrloom.report", ".")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(format, name) for name in FORMATS} | {"clipped": drawing.clipped}
    style, _, _ = loader.get_source(environment, "style.css")
    return environment, Markup(style)


def _mapped(search: SearchTrace) -> int:
    """Fields in the heat map of pairs."""
    return len({name for candidate in search.of_order(2) for name in candidate.fields})


def _figures(results: Results, search: SearchTrace | None) -> dict[str, Markup]:
    figures = {
        "roc": model_figures.roc(results),
        "calibration": model_figures.calibration(results),
        "training": model_figures.training(results),
    }
    if results.comparisons:
        figures["forest"] = model_figures.forest(results)
    return figures | (_search_figures(results, search) if search else {})


def _search_figures(results: Results, search: SearchTrace) -> dict[str, Markup]:
    analysis = results.searches[0] if results.searches else None
    figures = found_figures([search], analysis, results.data.sizes)
    functions, chosen = aim_figures.functions(search), "choice_map" in figures
    if len(functions) > 1:
        figures |= {f"gate_map_{f}": m for f, m in aim_figures.gate_maps(search, functions).items()}
    elif search.of_order(2) and not chosen:
        figures["gate_map"] = search_figures.gate_map(search)
    if search.path_steps:
        figures["gate_path"] = search_figures.gate_path(search)
    scored = any(candidate.statistics_auc is not None for candidate in search.candidates)
    if scored and not search.by_statistic and not chosen:
        figures["gate_statistics"] = search_figures.gate_and_statistics(search)
    return figures
