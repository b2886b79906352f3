"""Training history by epoch, whether it was long enough, and the role of a trained model."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, Self

from pydantic import model_validator

from ctrloom.config import GBDTSettings, Hyperparameters
from ctrloom.config.base import StrictModel

Kind = Literal["baseline", "retrained", "transfer", "control"]
Limit = Literal["epochs", "trees"]  # the setting that ended a training too early

TREES_PER_EPOCH = 10
GAIN = 1e-4  # of the validation score; less, over the last `patience` epochs, does not need a longer training


class Epoch(StrictModel):
    """Metrics of one epoch."""

    epoch: int
    train_logloss: float
    valid_auc: float
    valid_logloss: float

    def score(self, monitor: Literal["auc", "logloss"]) -> float:
        """The monitored score, higher is better: validation AUC, or negative logloss."""
        return self.valid_auc if monitor == "auc" else -self.valid_logloss


class History(StrictModel):
    """Metrics of all epochs of one training run."""

    epochs: tuple[Epoch, ...]
    best: int  # 1-based epoch whose weights were kept
    seconds: float  # in training passes only, without validation
    rows_per_second: float
    limited_by: Limit | None = None  # the setting that ended the training while it was still improving

    @model_validator(mode="after")
    def _best_is_one(self) -> Self:
        if not 1 <= self.best <= len(self.epochs):
            raise ValueError(f"best: must be one of the {len(self.epochs)} epochs, not {self.best}")
        return self

    @property
    def best_epoch(self) -> Epoch:
        """Metrics of the epoch whose weights were kept."""
        return self.epochs[self.best - 1]


AfterEpoch = Callable[[int, Epoch], object]  # number of the epoch, and the best one so far; may raise to end


def nothing(number: int, best: Epoch) -> None:
    """What training does after an epoch by default."""


def replay(epochs: Sequence[Epoch], settings: Hyperparameters, after_epoch: AfterEpoch) -> None:
    """Call `after_epoch` for finished epochs."""
    best = None
    for epoch in epochs:
        if best is None or epoch.score(settings.monitor) > best.score(settings.monitor):
            best = epoch
        after_epoch(epoch.epoch, best)


def limit_of(epochs: Sequence[Epoch], settings: Hyperparameters, trees: bool = False) -> Limit | None:
    """The setting that ended a training while it was still improving; None if early stopping ended it.

    A training that runs out of epochs or trees is still improving if its best score is more than GAIN above
    the best of `patience` epochs earlier, or if its learning rate was still to decay.
    """
    scores = [epoch.score(settings.monitor) for epoch in epochs]
    limit: Limit = "epochs"
    allowed, decays = settings.epochs, settings.decays
    if trees:
        assert isinstance(settings, GBDTSettings)
        limit, allowed, decays = "trees", math.ceil(settings.trees / TREES_PER_EPOCH), 0
    decays_left = _decays_left(scores, settings.patience, decays)
    if len(scores) < allowed or decays_left is None:
        return None
    earlier = max(scores[: max(1, len(scores) - settings.patience)])
    return limit if len(scores) == 1 or decays_left or max(scores) - earlier > GAIN else None


def _decays_left(scores: Sequence[float], patience: int, decays: int) -> int | None:
    """Decays of the learning rate that are left at the end; None if early stopping ended the training."""
    best, waited = -math.inf, 0
    for score in scores:
        waited = 0 if score > best else waited + 1
        best = max(best, score)
        if waited >= patience:
            if not decays:
                return None
            decays, waited = decays - 1, 0
    return decays
