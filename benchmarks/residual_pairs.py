"""A search method for benchmarks: pairs by the t value of what they add to main effects, on held-out rows.

Importing this registers `residual_pairs`. Each fifth of the training rows is held out once: a logistic
regression is fitted on the others, and the residuals that it leaves are averaged per joint value of a pair,
shrunk by the number of rows. A pair is kept if these means predict the residuals of the held-out rows.
"""

import time
from itertools import combinations
from typing import Literal

import numpy as np
import torch

from ctrloom import register_method
from ctrloom.architecture import Architecture
from ctrloom.config import Hyperparameters
from ctrloom.config.models_section import ModelName
from ctrloom.config.search import Method, MethodConfig
from ctrloom.data.batches.batch import Batch
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.methods.scored import scored_result
from ctrloom.models import build
from ctrloom.training.loop import fit, score, seed_everything

REGRESSION = {
    "learning_rate": 3e-3,
    "embedding_l2": 3e-4,
    "epochs": 15,
    "patience": 2,
    "decays": 0,
    "monitor": "logloss",
}


class ResidualPairsConfig(MethodConfig):
    """Settings of the statistic."""

    method: Literal["residual_pairs"] = "residual_pairs"
    base: ModelName = "poly2"
    folds: int = 5
    shrinkage: float = 20.0  # rows without residual that are added to each joint value
    t: float = 3.0  # pairs above it are kept

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the controls."""
        return ("random", "unpruned", "statistics-auc")


def search(data: SearchData, config: ResidualPairsConfig, settings: Hyperparameters) -> SearchResult:
    """Keep the pairs of categorical fields whose t value is above the threshold."""
    began = time.perf_counter()
    columns = _columns(data)
    pairs = list(combinations(columns, 2))
    fold_N = np.random.default_rng(config.seed).integers(0, config.folds, len(data.train))
    sums = np.zeros((2, len(pairs)))
    for fold in range(config.folds):
        held_N = fold_N == fold
        residual_N = _residuals(data, held_N, config.seed)
        for number, (one, other) in enumerate(pairs):
            gain_n = _gains(columns[one], columns[other], residual_N, held_N, config.shrinkage)
            sums[:, number] += gain_n.sum(), (gain_n**2).sum()
    t = dict(zip(pairs, (sums[0] / np.sqrt(sums[1] + 1e-12)).tolist(), strict=True))
    kept = {pair for pair in pairs if t[pair] > config.t}
    return scored_result(data, config, t, kept, time.perf_counter() - began)


def _columns(data: SearchData) -> dict[str, np.ndarray]:
    """Ids (N,) of the categorical fields."""
    fields = data.schema.fields
    starts = np.cumsum([0, *(field.width for field in fields[:-1])])
    ids_NC = data.train.ids_NC.numpy().astype(np.int64)
    return {
        f.name: ids_NC[:, start] for f, start in zip(fields, starts, strict=True) if f.kind == "categorical"
    }


def _residuals(data: SearchData, held_N: np.ndarray, seed: int) -> np.ndarray:
    """Label minus the probability of a logistic regression without the held-out rows (N,)."""
    settings = Hyperparameters.model_validate(REGRESSION)
    seed_everything(seed)
    model = build("lr", Architecture.complete(data.schema.names), data.schema, settings)
    train, held = (_take(data.train, rows) for rows in (~held_N, held_N))
    fit(model, train, held, settings, seed, "main effects")
    logit_N = score(model, data.train).astype(np.float64)
    return data.train.label_N.numpy() - 1 / (1 + np.exp(-logit_N))


def _take(rows: Batch, chosen_N: np.ndarray) -> Batch:
    return rows.take(torch.from_numpy(np.flatnonzero(chosen_N)))


def _gains(
    one_N: np.ndarray, other_N: np.ndarray, residual_N: np.ndarray, held_N: np.ndarray, shrinkage: float
) -> np.ndarray:
    """Products of the held-out residuals and their predictions from the other rows."""
    _, cell_N = np.unique(one_N * (other_N.max() + 1) + other_N, return_inverse=True)
    known, cells = ~held_N, cell_N.max() + 1
    rows = np.bincount(cell_N[known], minlength=cells)
    mean = np.bincount(cell_N[known], residual_N[known], minlength=cells) / (rows + shrinkage)
    gains: np.ndarray = mean[cell_N[held_N]] * residual_N[held_N]
    return gains


register_method(
    "residual_pairs",
    Method("Residual pairs", ResidualPairsConfig, search, measure="t value", trains=False),
)
