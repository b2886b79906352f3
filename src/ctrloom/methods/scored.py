"""The result of a method that scores every candidate on its own, without training."""

from collections.abc import Collection, Mapping

from ctrloom.architecture import Architecture, Interaction
from ctrloom.config import MethodConfig
from ctrloom.methods.controls import selection_controls
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.methods.statistics.candidates import with_statistics
from ctrloom.search_trace import Candidate, SearchTrace, StageSeconds

Fields = tuple[str, ...]


def scored_result(
    data: SearchData,
    config: MethodConfig,
    scores: Mapping[Fields, float],
    kept: Collection[Fields],
    seconds: float,
    p_values: Mapping[Fields, float] | None = None,
    unconfirmed: Collection[Fields] = (),
) -> SearchResult:
    """Architecture, trace and controls of the candidates in `scores`, of which `kept` were selected.

    The controls are random selections, all candidates, and the best by statistics-AUC, but not the one that
    has the name of the method. `seconds` is what scoring took; `p_values` are of the scores, if known, and
    `unconfirmed` are those kept though they are not significant.
    """
    p_values = p_values or {}
    candidates = tuple(
        Candidate(
            fields=fields,
            score=score,
            kept=fields in kept,
            p_value=p_values.get(fields),
            unconfirmed=fields in unconfirmed,
        )
        for fields, score in scores.items()
    )
    trace = SearchTrace(
        method=config.method,
        base=config.base,
        orders=tuple(sorted({candidate.order for candidate in candidates})),
        candidates=candidates,
        seconds=seconds,
        rows_per_second=len(data.train) / seconds,
        stages=(StageSeconds(name="scores", seconds=seconds),),
        hyperparameters=config.model_dump(mode="json"),
    )
    selected = tuple(Interaction(fields=c.fields, score=c.score) for c in candidates if c.kept)
    found = Architecture(method=config.method, fields=data.schema.names, interactions=selected)
    trace = with_statistics(trace, data)
    controls = selection_controls(found, trace, config.draw_seeds)
    controls.pop(config.method.replace("_", "-"), None)
    return SearchResult(found, trace, controls)
