"""Drawing settings from a search space, with Optuna."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import numpy as np

from ctrloom.config import MODELS, Hyperparameters
from ctrloom.config.base import ConfigError
from ctrloom.config.extras import install
from ctrloom.config.tuning import Dimension, Space
from ctrloom.tuning.record import Budget, Trial

MOST_DRAWS = 1000  # for a trial
PRUNED_AFTER = 5, 2  # complete trials, and epochs of a trial, before the first is pruned


def optuna() -> Any:
    """Import Optuna, an optional dependency.

    Raises:
        ConfigError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        message = f"tuning needs Optuna ({error}); install it with {install('tuning')}"
        raise ConfigError(message) from None
    return optuna


def ask(
    model: str, configured: Hyperparameters, space: Space, budget: Budget, trials: Sequence[Trial]
) -> tuple[Any, dict[str, Any]]:
    """The next trial of Optuna after `trials`, for the pruner, and its settings.

    The first trial has the configured settings; these are seldom in the space, so only the pruner knows it.
    Settings that exclude each other, or configured ones, are drawn again. The result depends only on the
    configuration, the budget and the trials before, so that a resumed study continues as if it had not been
    stopped.

    Raises:
        ConfigError: no settings that are drawn are valid.
    """
    distributions = {key: _distribution(model, key, space[key]) for key in sorted(space)}
    known = [_known(trial, distributions, space) for trial in trials]
    with _quiet():
        asked = _study(budget, (len(trials),), known).ask()
        if not trials:
            return asked, {}
        for attempt in range(MOST_DRAWS):
            number = (len(trials), attempt) if attempt else (len(trials),)
            params = _study(budget, number, known[1:]).ask(distributions).params
            settings = {key: _value(space[key], param) for key, param in params.items()}
            try:
                combined(model, configured, settings)
            except ConfigError as error:
                reason = error
            else:
                return asked, settings
    raise ConfigError(f"tuning.spaces.{model}: has no valid settings ({reason}); change the space")


def combined(model: str, configured: Hyperparameters, settings: Mapping[str, Any]) -> Hyperparameters:
    """The configured settings with those of a trial.

    Raises:
        ConfigError: they exclude each other.
    """
    return type(configured).parse({**configured.model_dump(mode="json"), **settings}, f"models.{model}")


def draw(model: str, configured: Hyperparameters, space: Space, budget: Budget) -> list[dict[str, Any]]:
    """The settings of all trials of a random search, which do not depend on each other."""
    trials: list[Trial] = []
    for number in range(budget.trials if space else 1):
        _, settings = ask(model, configured, space, budget, trials)
        trials.append(Trial(number=number, state="failed", settings=settings, seconds=0.0))
    return [trial.settings for trial in trials]


def _study(budget: Budget, number: Sequence[int], known: Sequence[Any]) -> Any:
    """A study of finished trials, with the sampler of a trial, and of an attempt if it is not the first."""
    library = optuna()
    seed = int(np.random.SeedSequence([budget.seed, *number]).generate_state(1)[0])
    kinds = {"tpe": library.samplers.TPESampler, "random": library.samplers.RandomSampler}
    first, warm_up = PRUNED_AFTER
    pruner = (
        library.pruners.MedianPruner(n_startup_trials=first, n_warmup_steps=warm_up)
        if budget.pruner == "median"
        else library.pruners.NopPruner()
    )
    direction = "minimize" if budget.metric == "logloss" else "maximize"
    sampler = kinds[budget.sampler](seed=seed)
    study = library.create_study(sampler=sampler, pruner=pruner, direction=direction)
    study.add_trials(known)
    return study


def _known(trial: Trial, distributions: Mapping[str, Any], space: Space) -> Any:
    """A finished trial in the form of Optuna."""
    library = optuna()
    states = library.trial.TrialState
    return library.trial.create_trial(
        state={"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[trial.state],
        value=trial.score,
        params={key: _param(space[key], value) for key, value in trial.settings.items()},
        distributions={key: distributions[key] for key in trial.settings},
        intermediate_values=dict(enumerate(trial.scores, 1)),
    )


def _distribution(model: str, key: str, dimension: Dimension) -> Any:
    library = optuna()
    if dimension.choices is not None:
        choices = [_param(dimension, choice) for choice in dimension.choices]
        return library.distributions.CategoricalDistribution(choices)
    low, high = dimension.examples
    if float in _types(MODELS[model].settings.model_fields[key].annotation):
        return library.distributions.FloatDistribution(low, high, log=dimension.log)
    return library.distributions.IntDistribution(int(low), int(high), log=dimension.log)


def _types(annotation: Any) -> set[Any]:
    """The types that a setting may have."""
    return {annotation}.union(*(_types(each) for each in get_args(annotation)))


def _param(dimension: Dimension, value: Any) -> Any:
    """A value as Optuna takes it; it has no choice between lists."""
    return value if dimension.choices is None else json.dumps(value)


def _value(dimension: Dimension, param: Any) -> Any:
    return param if dimension.choices is None else json.loads(param)


@contextmanager
def _quiet() -> Iterator[None]:
    """Only warnings of Optuna; restores what was set."""
    logs = optuna().logging
    before = logs.get_verbosity()
    logs.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logs.set_verbosity(before)
