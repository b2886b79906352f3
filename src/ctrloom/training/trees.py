"""Training of gradient-boosted trees and of the logistic regression on their leaves."""

import time
from typing import Any

import numpy as np
import torch
from torch import nn

from ctrloom.config import GBDTSettings, Hyperparameters
from ctrloom.data.batches.batch import Batch
from ctrloom.models.trees import GBDT, GBDTLR, categorical, lightgbm, matrix
from ctrloom.progress import progress
from ctrloom.training.history import TREES_PER_EPOCH, AfterEpoch, Epoch, History, limit_of, nothing
from ctrloom.training.loop import SCORING_BATCH, fit, seed_everything


def fit_trees(
    model: nn.Module,
    train: Batch,
    valid: Batch,
    settings: Hyperparameters,
    seed: int,
    title: str,
    after_epoch: AfterEpoch = nothing,
) -> History:
    """Boost trees with early stopping on the validation score, and keep those up to the best one.

    GBDT+LR then trains a logistic regression on the leaves of the same rows and returns its history, with
    the seconds of both; only its epochs are passed to `after_epoch`. Uses as many threads as torch.
    """
    assert isinstance(model, GBDT)
    assert isinstance(settings, GBDTSettings)
    seed_everything(seed)
    if not isinstance(model, GBDTLR):
        return _boosted(model, train, valid, settings, seed, title, after_epoch)
    history = _boosted(model, train, valid, settings, seed, title, nothing)
    leaves = _leaves(model, train), _leaves(model, valid)
    second = fit(model.regression, *leaves, settings, seed, f"{title}, regression", after_epoch)
    limit = history.limited_by or second.limited_by
    return second.model_copy(update={"seconds": history.seconds + second.seconds, "limited_by": limit})


def _boosted(
    model: GBDT,
    train: Batch,
    valid: Batch,
    settings: GBDTSettings,
    seed: int,
    title: str,
    after_epoch: AfterEpoch,
) -> History:
    booster = _booster(model, train, valid, settings, seed)
    epochs: list[Epoch] = []
    best, best_score, seconds, ended = 0, -np.inf, 0.0, False
    with progress(title, settings.trees * len(train)) as advance:
        while (
            not ended
            and booster.current_iteration() < settings.trees
            and len(epochs) - best < settings.patience
        ):
            began, before = time.perf_counter(), booster.current_iteration()
            for _ in range(min(TREES_PER_EPOCH, settings.trees - before)):
                ended = ended or booster.update()
            seconds += time.perf_counter() - began
            epochs.append(epoch := _epoch(booster, len(epochs) + 1))
            note = f"{booster.current_iteration()} trees, valid AUC {epoch.valid_auc:.5f}"
            advance((booster.current_iteration() - before) * len(train), note)
            if (gained := epoch.score(settings.monitor)) > best_score:
                best, best_score = epoch.epoch, gained
            after_epoch(epoch.epoch, epochs[best - 1])
    model.plant(booster.model_to_string(num_iteration=best * TREES_PER_EPOCH))
    rate = len(train) * booster.current_iteration() / seconds  # each tree is one pass over the rows
    limit = None if ended else limit_of(epochs, settings, trees=True)
    return History(epochs=tuple(epochs), best=best, seconds=seconds, rows_per_second=rate, limited_by=limit)


def _booster(model: GBDT, train: Batch, valid: Batch, settings: GBDTSettings, seed: int) -> Any:
    library = lightgbm()
    booster_settings = {
        "objective": "binary",
        "metric": ["auc", "binary_logloss"],
        "learning_rate": settings.tree_learning_rate,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.min_rows_in_leaf,
        "lambda_l2": settings.tree_l2,
        "feature_fraction": settings.field_share,
        "bagging_fraction": settings.row_share,
        "bagging_freq": int(settings.row_share < 1),
        "cat_smooth": settings.category_smoothing,
        "cat_l2": settings.category_l2,
        "min_data_per_group": settings.min_rows_in_category,
        "data_random_seed": 1,  # of the rows that bins are fitted on, the same for every seed
        **({"bagging_seed": seed, "feature_fraction_seed": seed} if settings.draws else {}),
        "deterministic": True,
        "force_row_wise": True,  # else LightGBM chooses by timing, which is not deterministic
        "num_threads": torch.get_num_threads(),
        "verbosity": -1,
    }

    def dataset(rows: Batch, like: Any = None) -> Any:
        return library.Dataset(
            matrix(model.schema, rows.ids_NC, rows.factors_NC),
            rows.label_N.numpy(),
            weight=None if rows.weight_N is None else rows.weight_N.numpy(),
            categorical_feature=categorical(model.schema),
            reference=like,
            params=booster_settings,
        )

    booster = library.Booster(booster_settings, first := dataset(train))
    return booster.add_valid(dataset(valid, first), "valid")


def _epoch(booster: Any, number: int) -> Epoch:
    train = {name: value for _, name, value, *_ in booster.eval_train()}
    valid = {name: value for _, name, value, *_ in booster.eval_valid()}
    return Epoch(
        epoch=number,
        train_logloss=float(train["binary_logloss"]),
        valid_auc=float(valid["auc"]),
        valid_logloss=float(valid["binary_logloss"]),
    )


def _leaves(model: GBDT, rows: Batch) -> Batch:
    """The same rows with their leaf indices as ids."""
    leaf_NT = [model.leaves(batch.ids_NC, batch.factors_NC) for batch in rows.batches(SCORING_BATCH)]
    return Batch(torch.cat(leaf_NT), rows.label_N, weight_N=rows.weight_N)
