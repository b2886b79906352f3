"""Finished trials are kept in any store, so that a step on another machine resumes."""

import pytest

from ctrloom import storage
from ctrloom.config import Hyperparameters
from ctrloom.config.tuning import TuningConfig
from ctrloom.training.history import AfterEpoch, Epoch, History
from ctrloom.tuning.record import Budget
from ctrloom.tuning.study import Subject, tune


def test_a_study_in_a_store_resumes(store: str) -> None:
    started: list[str] = []

    def train(settings: Hyperparameters, after_epoch: AfterEpoch, title: str) -> History:
        started.append(title)
        if len(started) == 3:
            raise KeyboardInterrupt
        best = Epoch(epoch=1, train_logloss=0.5, valid_auc=0.5, valid_logloss=settings.learning_rate)
        after_epoch(1, best)
        return History(epochs=(best,), best=1, seconds=1.0, rows_per_second=1.0)

    config = TuningConfig(trials=4)
    subject = Subject("fm", "fm", Hyperparameters(), config.space("fm"), train, ("data",))
    studies = storage.place(f"{store}/studies")
    with pytest.raises(KeyboardInterrupt):
        tune(subject, Budget.of(config), studies)
    whole = tune(subject, Budget.of(config), studies)
    assert [trial.number for trial in whole.trials] == [0, 1, 2, 3]
    assert len(started) == 5, "two before, the one that was stopped, and two after"
    assert tune(subject, Budget.of(config), studies) == whole
    assert len(started) == 5
