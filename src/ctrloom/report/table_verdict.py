"""The verdict on a table of many models: which is best, and which others may be equally good."""

from ctrloom.evaluation.results import ModelResult, Results
from ctrloom.report.format import count, fixed, inline, listed
from ctrloom.report.verdict import TOO_SHORT, Verdict, outcome_of
from ctrloom.report.warnings import warnings_on


def table_verdict(results: Results) -> Verdict:
    """The best model on validation rows, and whether the test rows show that it is better than the others."""
    warnings = warnings_on(results)
    if results.unfinished:
        return Verdict("invalid", TOO_SHORT, results.notes, warnings)
    level, others = equals(results), len(results.against_best)
    if not others:  # a single model, or results of an older version
        headline = f"{len(results.models)} models on the same {count(results.data.rows['test'])} test rows"
    elif not level:
        headline = f"{inline(results.best.title)} is the best of {others + 1} models"
    elif len(level) == others:
        headline = "No winner: the best model on validation rows is not shown to be better than any other"
    else:
        headline = "No single winner"
    return Verdict(
        "untested", headline, (_figures(results), *_equals(level, others), *results.notes), warnings
    )


def winner(results: Results) -> str | None:
    """Name of the best model on validation rows, if it is significantly better than every other."""
    won = results.against_best and not equals(results) and not results.unfinished
    return results.best.name if won else None


def equals(results: Results) -> list[ModelResult]:
    """Models that the best one on validation rows is not shown to be better than, on the test rows."""
    return [results.model(v.base) for v in results.against_best if outcome_of(v) != "better"]


def _figures(results: Results) -> str:
    best = results.best
    test, seeds = best.summary["test"], len(results.seeds)
    over = f"over {seeds} seed{'' if seeds == 1 else 's'}"
    return (
        f"{inline(best.title)} has the highest validation AUC "
        f"({fixed(best.summary['valid']['auc'].mean)}); on the {count(results.data.rows['test'])} test rows "
        f"it reaches {fixed(test['auc'].mean)} AUC and {fixed(test['logloss'].mean)} logloss, "
        f"{'the same with every seed' if best.deterministic and seeds > 1 else over}."
    )


def _equals(level: list[ModelResult], others: int) -> tuple[str, ...]:
    if not others:
        return ()
    if not level:
        return (f"It is significantly better than each of the {others} others.",)
    if len(level) == others:
        return ("It is not significantly better than any other.",)
    named = listed([inline(model.title) for model in level], most=5)
    beaten = f"{others - len(level)} of the {others} others"
    return (f"It is significantly better than {beaten}, but not than {named}.",)
