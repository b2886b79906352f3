"""Results in words: the verdict, the ranking, the planted interactions."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ctrloom.evaluation.results import ModelResult, Results, Versus
from ctrloom.report.format import count, fixed, interval, p_value, signed
from ctrloom.search_trace import Candidate, SearchTrace


@dataclass(frozen=True)
class Summary:
    """The headline and the sentences below it."""

    outcome: Literal["better", "level", "worse", "untested"]
    headline: str
    sentences: tuple[str, ...]


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


def summarize(results: Results, trace: SearchTrace | None) -> Summary:
    """Headline and summary sentences, computed from the results."""
    found = retrained(results)
    versus = results.versus_base(found.name) if found else None
    kept = _kept_sentence(trace) if trace else ()
    if found is None or versus is None:
        headline = f"{len(results.models)} models on the same {count(results.data.rows['test'])} test rows"
        return Summary("untested", headline, kept)
    base = results.model(results.base).title
    outcome = _outcome(versus)
    headline = _headline(found.title, base, versus)
    sentences = (_auc_sentence(found, versus, base), _logloss_sentence(versus), *_control(results, found))
    return Summary(outcome, headline, (*kept, *sentences, *_transfers(results), *_truth(trace)))


def retrained(results: Results) -> ModelResult | None:
    """The first model that was retrained from the search."""
    return next((model for model in results.models if model.kind == "retrained"), None)


def winner(results: Results) -> str | None:
    """Name of the model of highest test AUC, if significantly above the base."""
    best = max(results.models, key=lambda model: model.summary["test"]["auc"].mean)
    versus = results.versus_base(best.name)
    return best.name if versus and _outcome(versus) == "better" else None


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


def _outcome(versus: Versus) -> Literal["better", "level", "worse"]:
    if not versus.auc.significant:
        return "level"
    return "better" if versus.auc.delta > 0 else "worse"


def _kept_sentence(trace: SearchTrace) -> tuple[str]:
    if trace.operators:
        used = Counter(operator.operator for operator in trace.operators if operator.kept)
        named = ", ".join(f"{times} {name}" for name, times in used.most_common())
        return (f"The search kept {used.total()} operators: {named}.",)
    return (f"The search kept {orders(kept(trace))}.",)


def _headline(model: str, base: str, versus: Versus) -> str:
    outcome = _outcome(versus)
    if outcome == "better" and versus.logloss.significant and versus.logloss.delta > 0:
        return f"{model} ranks better than {base}, with worse logloss"
    return {
        "better": f"{model} beats {base}",
        "level": f"No difference shown between {model} and {base}",
        "worse": f"{model} is worse than {base}",
    }[outcome]


def _auc_sentence(found: ModelResult, versus: Versus, base: str) -> str:
    test = versus.auc
    reaches = f"{found.title} reaches {fixed(found.summary['test']['auc'].mean)} test AUC"
    evidence = f"({interval(test)}, {p_value(test.p_adjusted)} after Holm's correction)"
    match _outcome(versus):
        case "better":
            return f"{reaches}, {fixed(test.delta)} above {base} {evidence}."
        case "worse":
            return f"{reaches}, below {base}: a difference of {signed(test.delta)} {evidence}."
        case _:
            return (
                f"{reaches}. The difference of {signed(test.delta)} to {base} is not significant {evidence}."
            )


def _logloss_sentence(versus: Versus) -> str:
    test = versus.logloss
    direction = (
        ("lower" if test.delta < 0 else "higher") if test.significant else "not significantly different"
    )
    return f"Its logloss is {direction}: a difference of {signed(test.delta)} ({interval(test)})."


def _control(results: Results, found: ModelResult) -> tuple[str, ...]:
    def auc(model: ModelResult) -> float:
        return model.summary["test"]["auc"].mean

    controls = [model for model in results.models if model.kind == "control"]
    if not controls:
        return ()
    best = max(controls, key=auc)
    text = f"The control ({best.title}) reaches {fixed(auc(best))}"
    return (f"{text}, no less than {found.title}.",) if auc(best) >= auc(found) else (f"{text}.",)


def _transfers(results: Results) -> tuple[str, ...]:
    """The effect of transferred interactions, against the same models without them."""
    moved = [v for v in results.counterparts if results.model(v.model).kind == "transfer"]
    parts = [
        f"{results.model(v.base).title} by {signed(v.auc.delta)} ({p_value(v.auc.p_adjusted)})" for v in moved
    ]
    text = f"Transferring the kept interactions changes the test AUC of {' and of '.join(parts)}."
    return (text,) if parts else ()


def _truth(trace: SearchTrace | None) -> tuple[str, ...]:
    truth = planted(trace) if trace else None
    if truth is None:
        return ()
    found, within, wrong = len(truth.found), len(truth.found) + len(truth.missed), len(truth.wrong)
    others = f"{wrong} other{'' if wrong == 1 else 's'}"
    return (f"The search found {found} of {within} planted interactions and kept {others}.",)
