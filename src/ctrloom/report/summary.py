"""What a search kept: the ranking, counts, planted interactions, and agreement with statistics."""

from collections.abc import Sequence
from dataclasses import dataclass

from ctrloom.report.format import count
from ctrloom.search_trace import Candidate, SearchTrace


@dataclass(frozen=True)
class PlantedRecovery:
    """The kept interactions compared with the planted ones."""

    found: tuple[tuple[str, ...], ...]
    missed: tuple[tuple[str, ...], ...]
    wrong: tuple[tuple[str, ...], ...]  # kept, though not planted
    unsearched: tuple[tuple[str, ...], ...]  # planted, of an order that was not searched


@dataclass(frozen=True)
class Relation:
    """Correlation of |gate| with the AUC of counted click rates, over the candidates of one order."""

    order: int
    candidates: int
    pearson: float
    spearman: float


def ranking(trace: SearchTrace, order: int) -> list[Candidate]:
    """Kept candidates of one order, the strongest first."""
    kept = [candidate for candidate in trace.of_order(order) if candidate.kept]
    return sorted(kept, key=lambda candidate: -trace.strength(candidate))


def planted(trace: SearchTrace) -> PlantedRecovery | None:
    """Comparison with the planted interactions, if any."""
    if trace.planted is None or trace.operators:  # a graph of operators has no individual interactions
        return None
    kept = {frozenset(c.fields) for c in trace.candidates if c.kept}
    truth = {frozenset(names) for names in trace.planted}
    within = [names for names in trace.planted if len(names) in trace.orders]
    return PlantedRecovery(
        found=tuple(names for names in within if frozenset(names) in kept),
        missed=tuple(names for names in within if frozenset(names) not in kept),
        wrong=tuple(
            dict.fromkeys(c.fields for c in trace.candidates if c.kept and frozenset(c.fields) not in truth)
        ),
        unsearched=tuple(names for names in trace.planted if len(names) not in trace.orders),
    )


def relations(trace: SearchTrace) -> list[Relation]:
    """Correlations per order; an order whose gates (or AUCs) are all equal has none."""
    from scipy import stats  # loads slowly, and only a page needs it

    found = []
    for order in trace.orders:
        points = [
            (abs(c.score), c.statistics_auc) for c in trace.of_order(order) if c.statistics_auc is not None
        ]
        gates, aucs = [g for g, _ in points], [a for _, a in points]
        if len(set(gates)) > 1 and len(set(aucs)) > 1:
            pearson, spearman = stats.pearsonr(gates, aucs), stats.spearmanr(gates, aucs)
            found.append(Relation(order, len(points), float(pearson.statistic), float(spearman.statistic)))
    return found


def kept(trace: SearchTrace) -> list[tuple[int, int, int]]:
    """Number of field sets kept and searched per order, over all functions."""
    return [
        (
            order,
            len({c.fields for c in ranking(trace, order)}),
            len({c.fields for c in trace.of_order(order)}),
        )
        for order in trace.orders
    ]


def orders(kept: Sequence[tuple[int, int, int]]) -> str:
    """`9 of 45 pairs and 4 of 120 triples` from (order, kept, candidates)."""
    names = {2: "pairs", 3: "triples"}
    parts = [
        f"{count(k)} of {count(n)} {names.get(order, f'interactions of order {order}')}"
        for order, k, n in kept
    ]
    return " and ".join(parts) or "no interactions"
