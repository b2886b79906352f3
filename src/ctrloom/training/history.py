"""Training history by epoch, and the role of a trained model."""

from typing import Literal

from ctrloom.config.base import StrictModel

Kind = Literal["baseline", "retrained", "transfer", "control"]


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

    @property
    def best_epoch(self) -> Epoch:
        """Metrics of the epoch whose weights were kept."""
        return self.epochs[self.best - 1]
