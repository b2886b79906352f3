"""Figures of what the searches of one model found: for the page of a run and that of a comparison."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from ctrloom.evaluation.choices import choices_of
from ctrloom.evaluation.search_analysis import SearchAnalysis
from ctrloom.report import aim_figures, cell_figures, choice_figures
from ctrloom.search_trace import SearchTrace


def found_figures(
    traces: Sequence[SearchTrace], analysis: SearchAnalysis | None, ids: Mapping[str, int]
) -> dict[str, Markup]:
    """The figures by name; empty for methods that have none of their own.

    Maps of embedding sizes and graphs are those of the first search that has them. `ids` are the numbers of
    ids of all fields. Results of older versions have no `analysis`, and fewer figures.
    """
    figures: dict[str, Markup] = {}
    planted = traces[0].planted or ()
    if chosen := choices_of(traces):
        figures["choice_map"] = choice_figures.choice_map(chosen, len(traces), planted)
        if any(choice.mutual_information is not None for choice in chosen):
            figures["information_map"] = choice_figures.information_map(chosen, planted)
            if analysis:
                figures["information_by_choice"] = choice_figures.information_by_choice(
                    chosen, analysis.choices
                )
    if analysis and analysis.functions:
        figures["functions_by_order"] = aim_figures.functions_by_order(analysis.functions, traces)
    if sized := [trace for trace in traces if trace.embedding_gates]:
        figures["embedding_map"] = aim_figures.embedding_map(sized[0], ids)
    if analysis and analysis.fields:
        figures["positions_by_ids"] = aim_figures.positions_by_ids(analysis.fields)
    if traces[0].operators:
        figures |= {f"graph_{cell}": graph for cell, graph in cell_figures.graphs(traces[0]).items()}
    if any(operator.strength is not None for operator in traces[0].operators):
        figures["operator_strengths"] = cell_figures.strength_map(traces[0])
    return figures
