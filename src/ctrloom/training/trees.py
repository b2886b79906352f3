"""Training of gradient-boosted trees, of the regression on their leaves and of Poly2 added to them."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ctrloom.config import GBDTSettings, Hyperparameters
from ctrloom.data.batches.batch import Batch
from ctrloom.metrics.measure import require_both_labels
from ctrloom.models.trees import GBDT, GBDTLR, GBDTPoly2, categorical, lightgbm, matrix
from ctrloom.progress import progress
from ctrloom.training.checkpoints import Loop, Variables
from ctrloom.training.history import TREES_PER_EPOCH, AfterEpoch, Epoch, History, limit_of, nothing, replay
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

    Boosting that was stopped starts again: LightGBM cannot continue to the same trees.

    GBDT+LR then trains a regression on the leaves, and GBDT+Poly2 one on values and pairs with the trees'
    logit as an offset. The history is that of the regression, with the seconds of both; only its epochs are
    passed to `after_epoch`. A Poly2 part that does not improve the validation score of the trees is left out,
    and the history is theirs. Uses as many threads as torch.
    """
    assert isinstance(model, GBDT)
    assert isinstance(settings, GBDTSettings)
    seed_everything(seed)
    if not isinstance(model, GBDTLR | GBDTPoly2):
        return _boosted(model, train, valid, settings, seed, title, after_epoch)
    first = _boosted(model, train, valid, settings, seed, title, nothing)
    title = f"{title}, regression"
    if isinstance(model, GBDTLR):
        leaves = _leaves(model, train), _leaves(model, valid)
        kept = second = fit(model.regression, *leaves, settings, seed, title, after_epoch)
    else:
        part = _AddedToTrees(model.memory, train.factors_NC is not None)
        rows = _with_logit(model, train), _with_logit(model, valid)
        better = _better(first.best_epoch, settings)
        second = fit(part, *rows, settings, seed, title, lambda n, best: after_epoch(n, better(best)))
        kept = second if better(second.best_epoch) is second.best_epoch else first
        if kept is first:
            model.forget()
    limit = first.limited_by or second.limited_by
    return kept.model_copy(update={"seconds": first.seconds + second.seconds, "limited_by": limit})


def _better(trees: Epoch, settings: GBDTSettings) -> Callable[[Epoch], Epoch]:
    """A function that returns the better one of the trees and an epoch of what is added to them."""
    return lambda best: max(trees, best, key=lambda epoch: epoch.score(settings.monitor))


class _AddedToTrees(nn.Module):
    """A model whose logit is added to that of the trees, which batches have as their last factor."""

    def __init__(self, model: nn.Module, factors: bool) -> None:
        super().__init__()
        self.model, self.factors = model, factors

    def forward(self, ids_BC: Tensor, factors_BC: Tensor) -> Tensor:
        logit_B: Tensor = self.model(ids_BC, factors_BC[:, :-1] if self.factors else None)
        return factors_BC[:, -1] + logit_B


def _with_logit(model: GBDT, rows: Batch) -> Batch:
    """The same rows with the logit of the trees as one more factor."""
    logit = [model.boosted(batch.ids_NC, batch.factors_NC) for batch in rows.batches(SCORING_BATCH)]
    logit_N1 = torch.cat(logit)[:, None]
    if rows.factors_NC is None:
        return replace(rows, factors_NC=logit_N1)
    return replace(rows, factors_NC=torch.cat([rows.factors_NC, logit_N1], 1))


def _boosted(
    model: GBDT,
    train: Batch,
    valid: Batch,
    settings: GBDTSettings,
    seed: int,
    title: str,
    after_epoch: AfterEpoch,
) -> History:
    require_both_labels(valid.label_N, valid.weight_N)
    at = Variables(history={})
    loop = Loop(title, model=model, at=at)
    if loop.finished:
        history = History.model_validate(at.history)
        replay(history.epochs, settings, after_epoch)
        return history
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
    history = History(
        epochs=tuple(epochs), best=best, seconds=seconds, rows_per_second=rate, limited_by=limit
    )
    at.history = history.model_dump()
    loop.finish("model", "at")
    return history


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
