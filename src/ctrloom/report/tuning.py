"""How settings were tuned: a sentence, and a table of every model's trials."""

from collections.abc import Iterator
from typing import Any

from ctrloom.report.format import count, duration, fixed
from ctrloom.tuning.record import Budget, TunedSummary, TuningSummary

UNTUNED = "Settings were not tuned."


def sentence(tuning: TuningSummary | None) -> str:
    """The budget of every model, or that there was none."""
    if tuning is None:
        return UNTUNED
    budget = tuning.budget
    limit = f" or {duration(budget.seconds)}, whichever was first" if budget.seconds else ""
    each = f"{count(budget.trials)} trials{limit}"
    return f"Every model was tuned with the same budget: {each}, on validation rows."


def method(budget: Budget) -> str:
    """How settings were drawn and judged."""
    sampler = {"tpe": "TPE", "random": "random search"}[budget.sampler]
    pruning = "; trials worse than the median were pruned" if budget.pruner == "median" else ""
    metric = {"auc": "AUC", "logloss": "logloss"}[budget.metric]
    return f"{sampler} with seed {budget.seed}, by validation {metric}{pruning}"


def settings(model: TunedSummary) -> str:
    """The best settings of a model."""
    drawn = ", ".join(f"{key}: {_value(value)}" for key, value in model.settings.items())
    return drawn or "as configured"


def lines(tuning: TuningSummary | None) -> Iterator[str]:
    """The sentence, and a line per model, for a terminal."""
    yield sentence(tuning)
    for model in tuning.models if tuning else ():
        yield f"{model.name}: {_first(model)} to {fixed(model.best)}, {_trials(model)}; {settings(model)}"


def markdown(tuning: TuningSummary | None) -> str:
    """The sentence and the table."""
    parts = [sentence(tuning)] + ([table(tuning), f"{method(tuning.budget)}."] if tuning else [])
    return "\n\n".join(parts) + "\n"


def table(tuning: TuningSummary) -> str:
    """All models as Markdown."""
    return "\n".join(
        [
            f"| model | trials | time | {tuning.budget.metric} as configured | best | best settings |",
            "|---|---|--:|--:|--:|---|",
            *(_row(model) for model in tuning.models),
        ]
    )


def _row(model: TunedSummary) -> str:
    spent = _trials(model), duration(model.seconds)
    return f"| {' | '.join((model.name, *spent, _first(model), fixed(model.best), settings(model)))} |"


def _first(model: TunedSummary) -> str:
    return "failed" if model.first is None else fixed(model.first)


def _trials(model: TunedSummary) -> str:
    """`30 trials (12 pruned, 1 failed)`."""
    others = ((model.pruned, "pruned"), (model.failed, "failed"))
    detail = ", ".join(f"{number} {state}" for number, state in others if number)
    return f"{model.trials} trial{'s' if model.trials != 1 else ''}" + (f" ({detail})" if detail else "")


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value).lower() if isinstance(value, bool) else str(value)
