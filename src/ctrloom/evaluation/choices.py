"""OptInter's choice for each pair of fields, of one search or of those of several seeds."""

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from ctrloom.search_trace import SearchTrace

NAMES = {"memorize": "memorize", "hadamard": "factorize", "none": "leave out"}


class Choice(NamedTuple):
    """What the searches chose for one pair: what most of them did, or of equally many the more probable."""

    fields: tuple[str, ...]
    function: str
    searches: int  # that chose it
    probability: float  # of the choice at temperature 1, mean over all searches; 1 if there was no other
    mutual_information: float | None
    statistics_auc: float | None
    p_value: float | None  # in the first search

    @property
    def name(self) -> str:
        """Display name of the choice."""
        return NAMES[self.function]


def choices_in(trace: SearchTrace) -> dict[tuple[str, ...], str]:
    """What one search chose for every pair; a pair of which nothing was kept is left out ("none")."""
    found = {candidate.fields: "none" for candidate in trace.of_order(2)}
    return found | {c.fields: c.function for c in trace.of_order(2) if c.kept}


def choices_of(traces: Sequence[SearchTrace]) -> list[Choice]:
    """How each pair is modelled, in the order of the candidates; OptInter only."""
    if traces[0].method != "optinter":
        return []
    found = [choices_in(trace) for trace in traces]
    probability: dict[tuple[tuple[str, ...], str], list[float]] = {}
    for trace in traces:
        for c in trace.of_order(2):
            probability.setdefault((c.fields, c.function), []).append(c.score)
    every = []
    for c in {c.fields: c for c in traces[0].of_order(2)}.values():
        votes = [each[c.fields] for each in found]
        mean = {function: fmean(probability.get((c.fields, function), [1.0])) for function in {*votes}}
        best = max(mean, key=lambda function: (votes.count(function), mean[function], function))
        figures = c.mutual_information, c.statistics_auc, c.p_value
        every.append(Choice(c.fields, best, votes.count(best), mean[best], *figures))
    return every


def by_information(chosen: Sequence[Choice]) -> list[Choice]:
    """By descending mutual information with the label."""
    return sorted(chosen, key=lambda choice: -(choice.mutual_information or 0.0))
