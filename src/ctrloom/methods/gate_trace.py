"""The record of one or more gate searches: every candidate, and the paths of its gates."""

from collections.abc import Mapping, Sequence
from typing import Any

from ctrloom.config import ModelName
from ctrloom.methods.gates import GateSearch
from ctrloom.methods.permuted import is_copy
from ctrloom.search_trace import Candidate, SearchTrace, StageSeconds


def trace_of(
    gate_searches: Sequence[GateSearch],
    method: str,
    base: ModelName,
    orders: Sequence[int],
    hyperparameters: Mapping[str, Any],
) -> SearchTrace:
    """Joint trace of the gate searches of `orders`; a candidate that was searched twice has its last gate."""
    last: dict[tuple[Any, ...], Candidate] = {}
    for gate_search in gate_searches:
        kept = {(each.fields, each.function) for each in gate_search.kept}
        for candidate, accumulator in zip(
            gate_search.scored_interactions, gate_search.accumulators, strict=True
        ):
            key = candidate.fields, candidate.function
            last[key] = Candidate(
                fields=candidate.fields,
                function=candidate.function,
                score=candidate.score or 0.0,
                kept=key in kept,
                accumulator=accumulator,
            )
    copies = [last.pop(key) for key in list(last) if is_copy(key[0])]
    position = {key: i for i, key in enumerate(last)}
    steps, gates, thresholds, before = [], [], [], 0
    for gate_search in gate_searches:
        places = [
            position.get((candidate.fields, candidate.function))
            for candidate in gate_search.scored_interactions
        ]
        for step, values, threshold in gate_search.trajectory:
            row: list[float | None] = [None] * len(position)
            for place, value in zip(places, values, strict=True):
                if place is not None:
                    row[place] = value
            steps.append(before + step)
            gates.append(tuple(row))
            thresholds.append(threshold)
        before += gate_search.steps
    seconds = sum(gate_search.seconds for gate_search in gate_searches)
    return SearchTrace(
        method=method,
        base=base,
        orders=tuple(orders),
        candidates=tuple(last.values()),
        permuted=tuple(copies),
        path_steps=tuple(steps),
        path_scores=tuple(gates),
        path_threshold=tuple(thresholds),
        steps=before,
        epochs=sum(gate_search.passes for gate_search in gate_searches),
        seconds=seconds,
        rows_per_second=sum(gate_search.rows_seen for gate_search in gate_searches) / seconds,
        stages=tuple(
            StageSeconds(name=f"interactions of order {_order(gate_search)}", seconds=gate_search.seconds)
            for gate_search in gate_searches
        ),
        hyperparameters=dict(hyperparameters),
    )


def _order(gate_search: GateSearch) -> int:
    """The order that a search adds to those that it searches again."""
    return max(interaction.order for interaction in gate_search.scored_interactions)
