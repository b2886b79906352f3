"""What the papers analyse of a search: functions, embedding sizes, choices and time, over all seeds."""

from collections.abc import Mapping, Sequence

import numpy as np

from ctrloom.architecture import FUNCTIONS, Function
from ctrloom.config.base import StrictModel
from ctrloom.evaluation.choices import NAMES, choices_in
from ctrloom.evaluation.correlation import known_mean, spearman
from ctrloom.search_trace import Candidate, SearchTrace, StageSeconds


class FunctionSummary(StrictModel):
    """AIM: the candidates of one order by one function, means over the searches (AIM, Fig. 8)."""

    order: int
    function: Function
    candidates: float
    kept: float
    # Mean statistics-AUC on validation rows; None without any
    kept_statistics_auc: float | None
    dropped_statistics_auc: float | None


class FieldPositions(StrictModel):
    """AIM: ids of a field, and the embedding positions it keeps in all its tables (AIM, Table 6)."""

    field: str
    ids: int
    positions: float  # mean over the searches


class ChoiceSummary(StrictModel):
    """OptInter: the pairs with one choice, in all searches (OptInter, Fig. 6)."""

    choice: str
    pairs: float  # mean over the searches
    mutual_information: float | None  # with the label, mean over these pairs, in nats


class SearchAnalysis(StrictModel):
    """Analyses of the searches of one model; those of other methods are empty."""

    model: str
    searches: int
    stages: tuple[StageSeconds, ...]  # means over the searches
    functions: tuple[FunctionSummary, ...] = ()
    fields: tuple[FieldPositions, ...] = ()
    ids_and_positions: float | None = None  # Spearman's correlation over the fields
    choices: tuple[ChoiceSummary, ...] = ()


def analyse(model: str, traces: Sequence[SearchTrace], sizes: Mapping[str, int]) -> SearchAnalysis:
    """Analyse the searches of one model; `sizes` are the numbers of ids of all fields."""
    fields = _positions(traces, sizes)
    pairs = [np.array([getattr(each, name) for each in fields], float) for name in ("ids", "positions")]
    return SearchAnalysis(
        model=model,
        searches=len(traces),
        stages=_stages(traces),
        functions=_functions(traces) if traces[0].method == "aim" else (),
        fields=fields,
        ids_and_positions=spearman(*pairs) if fields else None,
        choices=_choices(traces) if traces[0].method == "optinter" else (),
    )


def _stages(traces: Sequence[SearchTrace]) -> tuple[StageSeconds, ...]:
    """A stage that some searches do not have counts as 0 seconds in these."""
    seconds: dict[str, float] = {}
    for trace in traces:
        for stage in trace.stages or (StageSeconds(name="search", seconds=trace.seconds),):
            seconds[stage.name] = seconds.get(stage.name, 0.0) + stage.seconds
    return tuple(StageSeconds(name=name, seconds=each / len(traces)) for name, each in seconds.items())


def _functions(traces: Sequence[SearchTrace]) -> tuple[FunctionSummary, ...]:
    groups: dict[tuple[int, str], list[Candidate]] = {}
    for trace in traces:
        for candidate in trace.candidates:
            groups.setdefault((candidate.order, candidate.function), []).append(candidate)
    return tuple(
        FunctionSummary(
            order=order,
            function=function,
            candidates=len(group) / len(traces),
            kept=sum(c.kept for c in group) / len(traces),
            kept_statistics_auc=known_mean(c.statistics_auc for c in group if c.kept),
            dropped_statistics_auc=known_mean(c.statistics_auc for c in group if not c.kept),
        )
        for order in sorted({order for order, _ in groups})
        for function in FUNCTIONS
        if (group := groups.get((order, function), []))
    )


def _positions(traces: Sequence[SearchTrace], sizes: Mapping[str, int]) -> tuple[FieldPositions, ...]:
    if not any(trace.embedding_gates for trace in traces):
        return ()
    kept = dict.fromkeys(sizes, 0)
    for trace in traces:
        for each in trace.embedding_gates:
            kept[each.field] += each.kept
    return tuple(
        FieldPositions(field=field, ids=sizes[field], positions=count / len(traces))
        for field, count in kept.items()
    )


def _choices(traces: Sequence[SearchTrace]) -> tuple[ChoiceSummary, ...]:
    nats: dict[str, list[float | None]] = {function: [] for function in NAMES}
    for trace in traces:
        known = {c.fields: c.mutual_information for c in trace.of_order(2)}
        for fields, function in choices_in(trace).items():
            nats[function].append(known[fields])
    return tuple(
        ChoiceSummary(
            choice=NAMES[function], pairs=len(each) / len(traces), mutual_information=known_mean(each)
        )
        for function, each in nats.items()
    )
