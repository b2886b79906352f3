"""The verdict on a run: a headline over AUC and logloss together, and the sentences below it."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from ctrloom.config import MODELS
from ctrloom.evaluation.results import ModelResult, Results, Versus
from ctrloom.evaluation.significance import Comparison
from ctrloom.report.format import count, fixed, inline, interval, p_value, percent, signed
from ctrloom.report.summary import kept, orders, planted
from ctrloom.report.warnings import warnings_on
from ctrloom.search_trace import SearchTrace

Outcome = Literal["better", "level", "worse", "mixed", "untested", "invalid"]
TOO_SHORT = "No verdict: trainings ended too early"


@dataclass(frozen=True)
class Verdict:
    """The headline, the sentences below it, and the warnings above all figures."""

    outcome: Outcome
    headline: str
    sentences: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """All of it as lines of text."""
        return [self.headline, *(f"Warning: {warning}" for warning in self.warnings), *self.sentences]


def summarize(results: Results, trace: SearchTrace | None) -> Verdict:
    """Headline, sentences and warnings, computed from the results of a run."""
    found, warnings = retrained(results), warnings_on(results)
    searched = (*_kept_sentence(trace), *_truth(trace)) if trace else ()
    if results.unfinished:
        return Verdict("invalid", TOO_SHORT, (*searched, *results.notes), warnings)
    nothing = trace is not None and trace.found_nothing
    versus = results.versus_base(found.name) if found else None
    if found is None or (versus is None and not nothing):
        headline = f"{len(results.models)} models on the same {count(results.data.rows['test'])} test rows"
        best = _best(results, found) if found else ()
        return Verdict("untested", headline, (*searched, *best, *results.notes), warnings)
    outcome, headline = _nothing_found(results, trace.base) if trace and nothing else _found(results, found)
    compared = _compared(results, found, versus) if versus else (_reaches(found) + ".",)
    more = (*_best(results, found), *_control(results, found), *_transfers(results), *results.notes)
    sentences = (*searched[:1], *compared, *more, *searched[1:])
    return Verdict(outcome, headline, sentences, warnings)


def retrained(results: Results) -> ModelResult | None:
    """The first model that was retrained from the search."""
    return next((model for model in results.models if model.kind == "retrained"), None)


def outcome_of(versus: Versus) -> Outcome:
    """AUC and logloss together: better if one is significantly better and the other not worse."""
    signs = {_gain(versus.auc), -_gain(versus.logloss)} - {0}
    if len(signs) > 1:
        return "mixed"
    return "level" if not signs else "better" if signs == {1} else "worse"


def _gain(test: Comparison) -> int:
    """Sign of the difference; 0 if it is not significant."""
    return (1 if test.delta > 0 else -1) if test.significant else 0


def _found(results: Results, found: ModelResult) -> tuple[Outcome, str]:
    versus = results.versus_base(found.name)
    assert versus
    headline = _difference(inline(found.title), inline(results.model(results.base).title), versus)
    outcome, rival = outcome_of(versus), _rival(results, found.name)
    if rival is None:
        return outcome, headline
    title, against_base = inline(rival.title), results.versus_base(rival.name)
    if outcome == "better":
        return outcome, f"{headline}; {title} is better still"
    both = against_base is not None and outcome_of(against_base) == "better"
    return outcome, f"{headline}; {title} beats {'both' if both else inline(found.title)}"


def _rival(results: Results, name: str) -> ModelResult | None:
    """The best model on validation rows, if it is significantly better than this one and not the base."""
    versus = results.versus_best(name)
    beaten = versus is not None and results.best.name != results.base and outcome_of(versus) == "better"
    return results.best if beaten else None


def _nothing_found(results: Results, searched: str) -> tuple[Outcome, str]:
    """The headline if the search kept nothing: the model without interactions is enough, or it is not."""
    equal = MODELS[searched].without_interactions
    plain = MODELS[equal].title if equal else f"{MODELS[searched].title} without interactions"
    ahead = {v.model for v in results.comparisons if _gain(v.auc) > 0 or _gain(v.logloss) < 0}
    better = [model for model in results.models if model.name in ahead and model.kind != "retrained"]
    if not better:
        return "level", f"No interaction found; {plain} is enough"
    best = results.best_of(better)
    versus = results.versus_base(best.name)
    assert versus
    return "worse", f"No interaction found, but {_difference(inline(best.title), plain, versus)}"


def _difference(model: str, base: str, versus: Versus) -> str:
    auc, logloss = _gain(versus.auc), -_gain(versus.logloss)
    if auc == logloss:
        headlines = (f"No difference shown between {model} and {base}", f"{model} beats {base}")
        return f"{model} is worse than {base}" if auc < 0 else headlines[auc]
    words = {1: "better", -1: "worse"}
    if auc == 0:
        return f"{model} has {words[logloss]} logloss than {base}; no difference shown in AUC"
    other = f", with {words[logloss]} logloss" if logloss else "; no difference shown in logloss"
    return f"{model} ranks {words[auc]} than {base}{other}"


def _kept_sentence(trace: SearchTrace) -> tuple[str]:
    if trace.operators:
        used = Counter(operator.operator for operator in trace.operators if operator.kept)
        named = ", ".join(f"{times} {name}" for name, times in used.most_common())
        return (f"The search kept {used.total()} operators: {named}.",)
    return (f"The search kept {orders(kept(trace))}.{_unconfirmed(trace)}",)


def _unconfirmed(trace: SearchTrace) -> str:
    """What the residual test did not confirm."""
    number = len({candidate.fields for candidate in trace.candidates if candidate.unconfirmed})
    if not number:
        return ""
    if any(candidate.kept and candidate.unconfirmed for candidate in trace.candidates):
        predictive = trace.hyperparameters.get("keep") == "predictive"
        why = "search.keep is predictive" if predictive else "search.confirm is off"
        return f" The residual test does not confirm {number} of them ({why})."
    return f" It chose {number} more, which the residual test did not confirm."


def _compared(results: Results, found: ModelResult, versus: Versus) -> tuple[str, ...]:
    base = results.model(results.base)
    if versus.auc.delta == versus.logloss.delta == 0:
        return (f"{_reaches(found)}, exactly as {inline(base.title)}.",)
    return (
        _auc_sentence(found, versus, inline(base.title), len(results.comparisons)),
        _logloss_sentence(versus, base.summary["test"]["logloss"].mean),
    )


def _reaches(model: ModelResult) -> str:
    return f"{inline(model.title)} reaches {fixed(model.summary['test']['auc'].mean)} test AUC"


def _auc_sentence(found: ModelResult, versus: Versus, base: str, tests: int) -> str:
    test, reaches = versus.auc, _reaches(found)
    adjusted = f"; both adjusted for {tests} comparisons by Holm's method" if tests > 1 else ""
    evidence = f"({interval(test)}, {p_value(test.p_adjusted)}{adjusted})"
    match _gain(test):
        case 1:
            return f"{reaches}, {fixed(test.delta)} above {base} {evidence}."
        case -1:
            return f"{reaches}, below {base}: a difference of {signed(test.delta)} {evidence}."
        case _:
            return (
                f"{reaches}. The difference of {signed(test.delta)} to {base} is not significant {evidence}."
            )


def _logloss_sentence(versus: Versus, base: float) -> str:
    test = versus.logloss
    size = f"{percent(abs(test.delta) / base)} {'lower' if test.delta < 0 else 'higher'}"
    evidence = f"({interval(test)}, {p_value(test.p_adjusted)})"
    if test.significant:
        return f"Its logloss is {size}: a difference of {signed(test.delta)} {evidence}."
    return f"Its logloss is {size}, a difference of {signed(test.delta)} that is not significant {evidence}."


def _best(results: Results, found: ModelResult) -> tuple[str, ...]:
    """The best model of the whole table, and whether it is better than the searched one."""
    best, versus = results.best, results.versus_best(found.name)
    if best.name == found.name:
        return (f"It was the best of all {len(results.models)} models on validation rows.",)
    if versus is None:
        return ()
    title, role = inline(best.title), ", the base of the comparison" if best.name == results.base else ""
    words = {1: "significantly above", -1: "significantly below", 0: "not significantly different from"}
    auc = f"{words[_gain(versus.auc)]} {inline(found.title)} ({p_value(versus.auc.p_adjusted)})"
    words = {1: "significantly higher", -1: "significantly lower", 0: "not significantly different"}
    logloss = f"its logloss is {words[_gain(versus.logloss)]}"
    reaches = fixed(best.summary["test"]["auc"].mean)
    return (f"{title}{role}, which was best on validation rows, reaches {reaches}, {auc}; {logloss}.",)


def _control(results: Results, found: ModelResult) -> tuple[str, ...]:
    def auc(model: ModelResult) -> float:
        return model.summary["test"]["auc"].mean

    others = {v.model for v in results.counterparts if v.base != found.name}  # of transfers
    controls = [model for model in results.models if model.kind == "control" and model.name not in others]
    if not controls:
        return ()
    best = max(controls, key=auc)
    text = f"The control ({best.title}) reaches {fixed(auc(best))}"
    return (f"{text}, no less than {found.title}.",) if auc(best) >= auc(found) else (f"{text}.",)


def _transfers(results: Results) -> tuple[str, ...]:
    """The effect of transferred interactions, against the same models without them."""
    kinds = {model.name: model.kind for model in results.models}
    moved = [v for v in results.counterparts if (kinds[v.model], kinds[v.base]) == ("transfer", "baseline")]
    parts = [
        f"{results.model(v.base).title} by {signed(v.auc.delta)} ({p_value(v.auc.p_adjusted)})" for v in moved
    ]
    text = f"Transferring the kept interactions changes the test AUC of {' and of '.join(parts)}."
    return (text,) if parts else ()


def _truth(trace: SearchTrace) -> tuple[str, ...]:
    truth = planted(trace)
    if truth is None:
        return ()
    found, within, wrong = len(truth.found), len(truth.found) + len(truth.missed), len(truth.wrong)
    others = f"{wrong} other{'' if wrong == 1 else 's'}"
    return (f"The search found {found} of {within} planted interactions and kept {others}.",)
