"""The study of one model: its trials, one after the other, and the file that they are kept in."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ctrloom import storage
from ctrloom.config import Hyperparameters
from ctrloom.config.base import ConfigError, StrictModel
from ctrloom.config.tuning import Space
from ctrloom.memory import LowMemoryError
from ctrloom.progress import progress
from ctrloom.storage import Place
from ctrloom.training.checkpoints import Stopwatch
from ctrloom.training.history import AfterEpoch, Epoch, History
from ctrloom.training.loop import DivergedError
from ctrloom.tuning.record import Budget, Trial, TunedModel
from ctrloom.tuning.sampling import ask, combined, optuna

FAILURES = (ConfigError, DivergedError, LowMemoryError)  # of a trial, not of the study
Train = Callable[[Hyperparameters, AfterEpoch, str], History]  # settings, hook and title


@dataclass(frozen=True)
class Subject:
    """A model to tune, and how it is trained with some settings."""

    name: str  # of its row in the results
    model: str
    configured: Hyperparameters
    space: Space
    train: Train
    trained_on: Sequence[Any]  # JSON of what else the result of a training depends on
    prepare: Callable[[], object] = lambda: None  # what all trials need; its time belongs to none of them


class StoredTrials(StrictModel):
    """`<fingerprint>.json`: the trials so far of one study."""

    version: Literal[1] = 1
    fingerprint: str
    trials: tuple[Trial, ...]


def tune(subject: Subject, budget: Budget, studies: Place) -> TunedModel:
    """Run all trials within the budget; the first has the configured settings.

    Finished trials are kept in the folder `studies`, in a file named by everything that they depend on except
    the code. So a stopped study resumes, and a finished one is not run again.
    """
    fingerprint = fingerprint_of(subject, budget)
    file = studies / f"{fingerprint}.json"
    trials = list(_stored(file))
    if not subject.space:
        budget = budget.model_copy(update={"trials": 1})
    with progress(f"tune {subject.name}", budget.trials, "trials") as advance:
        advance(len(trials))
        while not budget.ended(trials):
            trials.append(trial := run_trial(subject, budget, trials))
            stored = StoredTrials(fingerprint=fingerprint, trials=tuple(trials))
            storage.write_record(file, stored)
            advance(1, _note(trial, budget))
    return TunedModel(name=subject.name, model=subject.model, trials=tuple(trials))


def run_trial(subject: Subject, budget: Budget, trials: Sequence[Trial]) -> Trial:
    """Draw the settings of the trial after `trials`, and train with them."""
    asked, settings = ask(subject.model, subject.configured, subject.space, budget, trials)
    number, spent = len(trials), sum(trial.seconds for trial in trials)

    def ends(epoch: int, score: float, seconds: float) -> str:
        asked.report(score, epoch)
        if number == 0:
            return ""
        if asked.should_prune():
            return f"worse than the median of complete trials after epoch {epoch}"
        late = budget.seconds is not None and spent + seconds >= budget.seconds
        return f"out of time after epoch {epoch}" if late else ""

    return judged(subject, budget, number, settings, ends)


def judged(
    subject: Subject,
    budget: Budget,
    number: int,
    settings: dict[str, Any],
    ends: Callable[[int, float, float], str] = lambda *_: "",
) -> Trial:
    """Train with some settings; `ends` gets epoch, score and seconds, and returns why training ends."""
    subject.prepare()
    stopwatch, scores = Stopwatch(), list[float]()

    def after_epoch(epoch: int, best: Epoch) -> None:
        scores.append(best.valid_logloss if budget.metric == "logloss" else best.valid_auc)
        if reason := ends(epoch, scores[-1], stopwatch.seconds):
            raise optuna().TrialPruned(reason)

    state, reason = "complete", ""
    title = f"{subject.name}, trial {number + 1} of {budget.trials}"
    try:
        subject.train(combined(subject.model, subject.configured, settings), after_epoch, title)
    except optuna().TrialPruned as error:
        state, reason = "pruned", str(error)
    except FAILURES as error:
        if number == 0 and isinstance(error, ConfigError):
            raise
        state, reason = "failed", str(error)
    return Trial.model_validate(
        {
            "number": number,
            "state": state,
            "settings": settings,
            "scores": scores,
            "seconds": stopwatch.seconds,
            "reason": reason,
        }
    )


def fingerprint_of(subject: Subject, budget: Budget) -> str:
    """SHA-256 over what the trials depend on."""
    space = {key: dimension.model_dump(mode="json") for key, dimension in subject.space.items()}
    parts = [
        subject.model,
        subject.configured.model_dump(mode="json"),
        space,
        budget.model_dump(mode="json"),
        subject.trained_on,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _stored(file: Place) -> tuple[Trial, ...]:
    if not storage.exists(file):
        return ()
    return storage.read_record(file, StoredTrials).trials


def _note(trial: Trial, budget: Budget) -> str:
    if trial.state == "complete":
        return f"trial {trial.number + 1}: valid {budget.metric} {trial.score:.5f}"
    return f"trial {trial.number + 1}: {trial.state}, {trial.reason}"
