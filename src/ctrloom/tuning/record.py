"""The record of tuning, `tuning.json`: per model its budget, every trial, and the best settings."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import model_validator

from ctrloom import storage
from ctrloom.config import ModelName, ModelsConfig
from ctrloom.config.base import ConfigError, StrictModel
from ctrloom.config.errors import UserError
from ctrloom.config.tuning import Metric, TuningConfig
from ctrloom.storage import Place

TUNING = "tuning.json"
State = Literal["complete", "pruned", "failed"]


class Trial(StrictModel):
    """One training; trial 0 has the configured settings, the others replace some of them."""

    number: int
    state: State
    settings: dict[str, Any]  # that were drawn
    scores: tuple[float, ...] = ()  # validation metric after each epoch, of the best epoch so far
    seconds: float
    reason: str = ""  # why it was pruned or failed

    @property
    def score(self) -> float | None:
        """Validation metric; None unless the trial is complete."""
        return self.scores[-1] if self.state == "complete" else None


class Budget(StrictModel):
    """What every model gets, and how it is spent."""

    trials: int
    seconds: float | None = None
    sampler: Literal["tpe", "random"]
    pruner: Literal["median", "none"]
    metric: Metric
    seed: int

    @classmethod
    def of(cls, config: TuningConfig) -> Self:
        """The budget that a configuration gives to every model."""
        return cls.model_validate({name: getattr(config, name) for name in cls.model_fields})

    def ended(self, trials: Sequence[Trial]) -> bool:
        """True if no further trial starts after these."""
        late = self.seconds is not None and sum(trial.seconds for trial in trials) >= self.seconds
        return len(trials) >= self.trials or (late and len(trials) > 0)


class TunedModel(StrictModel):
    """The trials of one model, named like its row in the results."""

    name: str
    model: ModelName
    trials: tuple[Trial, ...]

    def best(self, metric: Metric) -> Trial:
        """The complete trial of the best score; of equal ones the first.

        Raises:
            UserError: no trial is complete.
        """
        complete = [trial for trial in self.trials if trial.score is not None]
        if not complete:
            reason = next((trial.reason for trial in self.trials), "it has no trials")
            raise UserError(
                f"tuning of {self.name}: none of {len(self.trials)} trials is complete: {reason}; change "
                f"models.{self.model} or tuning.spaces.{self.model}"
            )
        sign = 1 if metric == "logloss" else -1
        return min(complete, key=lambda trial: sign * (trial.score or 0.0))

    def count(self, state: State) -> int:
        """Number of trials that ended so."""
        return sum(trial.state == state for trial in self.trials)

    @property
    def seconds(self) -> float:
        """Total of all trials."""
        return sum(trial.seconds for trial in self.trials)


class TunedSummary(StrictModel):
    """The tuning of one model, for the report."""

    name: str
    trials: int
    complete: int
    pruned: int
    failed: int
    seconds: float
    first: float | None  # validation metric with the configured settings; None if that trial failed
    best: float
    settings: dict[str, Any]  # the best ones; empty: the configured ones


class TuningSummary(StrictModel):
    """The tuning behind a report: every model had the same budget."""

    budget: Budget
    models: tuple[TunedSummary, ...]


class Tuning(StrictModel):
    """`tuning.json`; without budget and models if nothing was tuned."""

    version: Literal[1] = 1
    budget: Budget | None = None
    models: tuple[TunedModel, ...] = ()

    @model_validator(mode="after")
    def _has_budget(self) -> Self:
        if self.models and self.budget is None:
            raise ValueError("budget: missing")
        names = [model.name for model in self.models]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"models: duplicate {twice[0]!r}")
        return self

    def settings(self, name: str) -> dict[str, Any]:
        """The best settings of a model: what differs from the configured ones.

        Raises:
            ConfigError: it was not tuned, but others were.
        """
        if self.budget is None:
            return {}
        found = next((model for model in self.models if model.name == name), None)
        if found is None:
            tuned = ", ".join(model.name for model in self.models) or "none"
            raise ConfigError(f"tuning: {name} was not tuned, only {tuned}; tune it with the same budget")
        return found.best(self.budget.metric).settings

    def limit(self, name: str, limited_by: str | None) -> str | None:
        """The setting to raise where one ended a training: its space, if tuning chose the setting."""
        setting = (limited_by or "").rpartition(".")[2]
        tuned = next((model for model in self.models if model.name == name), None)
        return (
            f"tuning.spaces.{tuned.model}.{setting}"
            if tuned and setting in self.settings(name)
            else limited_by
        )

    def applied(self, models: ModelsConfig, names: Mapping[str, str]) -> ModelsConfig:
        """`models` with the best settings; `names` are those of rows by that of their model."""
        for model, name in names.items():
            models = models.override(model, self.settings(name))
        return models

    def summary(self, trained: Sequence[str] | None = None) -> TuningSummary | None:
        """What a report on the models `trained` shows (None: on all); None if nothing was tuned."""
        if self.budget is None:
            return None
        shown = [model for model in self.models if trained is None or model.name in trained]
        return TuningSummary(
            budget=self.budget, models=tuple(_summary(model, self.budget.metric) for model in shown)
        )

    @classmethod
    def load(cls, folder: Path | None) -> Self:
        """Read `tuning.json` in a folder; without a folder, nothing was tuned."""
        if folder is None:
            return cls()
        return storage.read_record(folder / TUNING, cls)

    def save(self, folder: Place) -> None:
        """Write `tuning.json` into a folder."""
        storage.write_record(folder / TUNING, self)


def _summary(model: TunedModel, metric: Metric) -> TunedSummary:
    best = model.best(metric)
    assert best.score is not None, "the best trial is complete"
    return TunedSummary(
        name=model.name,
        trials=len(model.trials),
        **{state: model.count(state) for state in get_args(State)},
        seconds=model.seconds,
        first=model.trials[0].score,
        best=best.score,
        settings=best.settings,
    )


def merged(parts: Iterable[Tuning]) -> Tuning:
    """The models of all parts; trials of one model may be in several.

    Trials that began after the budget's seconds do not count.

    Raises:
        UserError: budgets differ, or a trial is given twice.
    """
    parts = [part for part in parts if part.budget]
    if not parts:
        return Tuning()
    if any(part.budget != parts[0].budget for part in parts):
        raise UserError("models were tuned with different budgets; tune all of them with the same one")
    budget, found = parts[0].budget, dict[str, TunedModel]()
    assert budget
    for model in (model for part in parts for model in part.models):
        found[model.name] = _joined(found[model.name], model) if model.name in found else model
    return Tuning(budget=budget, models=tuple(_within(model, budget) for model in found.values()))


def _joined(first: TunedModel, second: TunedModel) -> TunedModel:
    trials = sorted((*first.trials, *second.trials), key=lambda trial: trial.number)
    if twice := [a.number for a, b in pairwise(trials) if a.number == b.number]:
        raise UserError(f"tuning of {first.name}: trial {twice[0]} is given twice")
    return first.model_copy(update={"trials": tuple(trials)})


def _within(model: TunedModel, budget: Budget) -> TunedModel:
    kept: list[Trial] = []
    for trial in model.trials:
        if budget.ended(kept):
            break
        kept.append(trial)
    return model.model_copy(update={"trials": tuple(kept)})
