"""What a training did, epoch by epoch, and what a trained model is for."""

from typing import Literal

from ctrloom.config.base import StrictModel

Kind = Literal["baseline", "retrained", "transfer", "control"]


class Epoch(StrictModel):
    """What one epoch of training reached."""

    epoch: int
    train_logloss: float
    valid_auc: float
    valid_logloss: float

    def score(self, monitor: Literal["auc", "logloss"]) -> float:
        """What training wants to be high: the validation AUC, or minus the logloss."""
        return self.valid_auc if monitor == "auc" else -self.valid_logloss


class History(StrictModel):
    """What a training did."""

    epochs: tuple[Epoch, ...]
    best: int  # epoch whose weights were kept, counted from 1
    seconds: float  # inside training passes alone
    rows_per_second: float

    @property
    def best_epoch(self) -> Epoch:
        """Figures of the epoch whose weights were kept."""
        return self.epochs[self.best - 1]
