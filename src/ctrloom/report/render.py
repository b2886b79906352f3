"""Renders the report as one self-contained HTML page."""

from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ctrloom import storage
from ctrloom.evaluation.results import ModelResult, Results
from ctrloom.report import (
    aim_figures,
    attention_figures,
    cell_figures,
    choice_figures,
    drawing,
    format,
    model_figures,
    search_figures,
    summary,
    tuning,
)
from ctrloom.report.table_verdict import winner
from ctrloom.report.verdict import retrained, summarize
from ctrloom.search_trace import SearchTrace

SHOWN = 10  # interactions that a ranking shows; the rest is collapsed
SIDE_BY_SIDE = 16  # maximum number of fields to show the ranking next to the heat map
FIELDS = 40  # fields that the table of fields shows; the rest is collapsed

FORMATS = (
    "fixed",
    "signed",
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
    chosen = choice_figures.choices(search) if search else []
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
        attention={m.name: _attention(m) for m in results.models if m.attention},
        config=yaml.safe_dump(results.config, sort_keys=False, allow_unicode=True),
        functions=aim_figures.functions(search) if search else (),
        choices=chosen,
        side_by_side=search is not None and 0 < _mapped(search) <= SIDE_BY_SIDE,
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


def _attention(model: ModelResult) -> dict[str, Any]:
    assert model.attention
    return {
        "mean": attention_figures.mean_map(model.attention),
        "example": attention_figures.example_map(model.attention),
        "darkest": attention_figures.darkest(model.attention),
    }


def _figures(results: Results, search: SearchTrace | None) -> dict[str, Markup]:
    figures = {
        "roc": model_figures.roc(results),
        "calibration": model_figures.calibration(results),
        "training": model_figures.training(results),
    }
    if results.comparisons:
        figures["forest"] = model_figures.forest(results)
    functions = aim_figures.functions(search) if search else ()
    choices = choice_figures.choices(search) if search else []
    if search and choices:
        figures["choice_map"] = choice_figures.choice_map(search)
    elif search and len(functions) > 1:
        figures |= {f"gate_map_{f}": m for f, m in aim_figures.gate_maps(search, functions).items()}
    elif search and search.of_order(2):
        figures["gate_map"] = search_figures.gate_map(search)
    if search and search.embedding_gates:
        figures["embedding_map"] = aim_figures.embedding_map(search)
    if search and search.operators:
        figures |= {f"graph_{cell}": graph for cell, graph in cell_figures.graphs(search).items()}
    if search and any(operator.strength is not None for operator in search.operators):
        figures["operator_strengths"] = cell_figures.strength_map(search)
    if search and search.path_steps:
        figures["gate_path"] = search_figures.gate_path(search)
    scored = search and any(candidate.statistics_auc is not None for candidate in search.candidates)
    if search and scored and not search.by_statistic and not choices:
        figures["gate_statistics"] = search_figures.gate_and_statistics(search)
    return figures
