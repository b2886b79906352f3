"""Measures models and tests each against a base.

S seeds, N rows of a split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctrloom.architecture import Architecture
from ctrloom.config import EvaluationConfig
from ctrloom.evaluation.importance import Importance
from ctrloom.evaluation.paired_tests import PairedTests
from ctrloom.evaluation.results import (
    Attention,
    DataSummary,
    ModelResult,
    Results,
    SeedMetrics,
    Spread,
)
from ctrloom.evaluation.seeds import require_same_seeds
from ctrloom.metrics.logistic import expit
from ctrloom.metrics.measure import EvaluationError, Metrics, confusion, measure, roc_curve
from ctrloom.models.size import ModelSize
from ctrloom.training.history import Epoch, Kind

SUMMARISED = ("auc", "logloss", "normalised_entropy", "brier", "calibration_ratio", "calibration_error")


@dataclass(frozen=True)
class Labels:
    """Labels and weights of one split, in the order in which every model scored its rows."""

    label_N: NDArray  # 0 or 1
    weight_N: NDArray | None = None


@dataclass(frozen=True)
class ModelScores:
    """One model, trained with several seeds, and its scores on the rows of both splits."""

    name: str
    title: str  # display name
    kind: Kind
    architectures: tuple[
        Architecture, ...
    ]  # one for all seeds or one per seed; empty if the model ignores the architecture
    parameters: int
    hyperparameters: dict[str, Any]
    seeds: tuple[int, ...]
    valid_logit_SN: NDArray
    test_logit_SN: NDArray
    train_rows_per_second: float
    inference_rows_per_second: float
    train_seconds: float  # total over seeds
    curves: tuple[tuple[Epoch, ...], ...]  # one per seed
    counterpart: str | None = None  # name of the model that it is also tested against
    search_seconds: float = 0.0  # total of the searches behind it
    attention: Attention | None = None  # of the first seed
    limited_by: str | None = None  # setting that ended a training while it was improving
    deterministic: bool = False  # trained once, as every seed gives the same model
    size: ModelSize | None = None  # of the first seed
    importance: Importance | None = None  # likewise
    note: str | None = None  # what the title does not say of it
    draws: tuple[int | None, ...] = ()  # of each training, the number of its random selection


def compare_models(
    models: Sequence[ModelScores],
    valid: Labels,
    test: Labels,
    data: DataSummary,
    evaluation: EvaluationConfig,
    code_version: str,
    config: dict[str, Any],
) -> Results:
    """Measure every model on both splits and test each against `evaluation.base` on the test rows.

    A model with a counterpart is tested against that one too, if it is among the models, and the best model
    on validation rows against every other.

    Raises:
        EvaluationError: the base is not among the models, a name appears twice, models were trained with
            different seeds, or scores are not finite or not one per row.
    """
    names = [model.name for model in models]
    if evaluation.base not in names:
        raise EvaluationError(
            f"evaluation.base is {evaluation.base!r}, which is not among the models {', '.join(names)}"
        )
    if twice := {name for name in names if names.count(name) > 1}:
        raise EvaluationError(f"two models are named {min(twice)!r}")
    require_same_seeds({model.name: seeds_of(model) for model in models if not model.deterministic})
    for model in models:
        _check(model, valid, test)
    tests = PairedTests({m.name: m.test_logit_SN for m in models}, test.label_N, test.weight_N, evaluation)
    results = Results(
        data=data,
        base=evaluation.base,
        evaluation=evaluation,
        models=tuple(_result(model, valid, test, evaluation.bins) for model in models),
        comparisons=tests.of([(name, evaluation.base) for name in names if name != evaluation.base]),
        counterparts=tests.of([(m.name, m.counterpart) for m in models if m.counterpart in names]),
        code_version=code_version,
        config=config,
    )
    base_auc = results.model(results.base).summary["test"]["auc"].mean
    relative = tuple(
        model
        if model.name == results.base
        else model.model_copy(update={"relative_auc": model.summary["test"]["auc"].mean / base_auc - 1})
        for model in results.models
    )
    best = results.best.name
    against_best = tests.of([(best, name) for name in names if name != best])
    return results.model_copy(update={"against_best": against_best, "models": relative})


def seeds_of(model: ModelScores) -> Sequence[int]:
    """The seeds of a model; one seed may train with several random selections."""
    several = any(draw is not None for draw in model.draws)
    return tuple(dict.fromkeys(model.seeds)) if several else model.seeds


def _check(model: ModelScores, valid: Labels, test: Labels) -> None:
    for split, logit_SN, truth in (
        ("valid", model.valid_logit_SN, valid),
        ("test", model.test_logit_SN, test),
    ):
        expected = (len(model.seeds), len(truth.label_N))
        if logit_SN.shape != expected:
            raise EvaluationError(
                f"{model.name}: {split} scores have the shape {logit_SN.shape}; expected {expected}, "
                f"one row per seed and one column per row of the split"
            )
        if bad := int((~np.isfinite(logit_SN)).any(1).sum()):
            raise EvaluationError(
                f"{model.name}: {bad} of {len(logit_SN)} seeds gave {split} scores that are not finite: "
                f"training diverged; try a smaller learning_rate"
            )


def _result(model: ModelScores, valid: Labels, test: Labels, bins: int) -> ModelResult:
    def metrics(logit_N: NDArray, truth: Labels) -> Metrics:
        return measure(logit_N, truth.label_N, truth.weight_N, bins)

    draws = model.draws or (None,) * len(model.seeds)
    scored = zip(model.seeds, draws, model.valid_logit_SN, model.test_logit_SN, strict=True)
    seeds = tuple(
        SeedMetrics(seed=seed, draw=draw, valid=metrics(valid_N, valid), test=metrics(test_N, test))
        for seed, draw, valid_N, test_N in scored
    )
    found = model.architectures
    orders = sorted({2, *(order for each in found for order in each.orders)}) if found else []
    return ModelResult(
        name=model.name,
        title=model.title,
        kind=model.kind,
        kept={order: fmean(len(each.of_order(order)) for each in found) for order in orders},
        candidates={order: comb(len(found[0].fields), order) for order in orders},
        parameters=model.parameters,
        hyperparameters=model.hyperparameters,
        seeds=seeds,
        summary={
            "valid": _summary([seed.valid for seed in seeds]),
            "test": _summary([seed.test for seed in seeds]),
        },
        train_rows_per_second=model.train_rows_per_second,
        inference_rows_per_second=model.inference_rows_per_second,
        train_seconds=model.train_seconds,
        search_seconds=model.search_seconds,
        curves=model.curves,
        attention=model.attention,
        limited_by=model.limited_by,
        deterministic=model.deterministic,
        size=model.size,
        importance=model.importance,
        note=model.note,
        roc=roc_curve(model.test_logit_SN[0], test.label_N, test.weight_N),
        confusion=confusion(
            expit(model.test_logit_SN[0]), test.label_N, test.weight_N, seeds[0].valid.label_rate
        ),
    )


def _summary(metrics: list[Metrics]) -> dict[str, Spread]:
    values = {name: np.array([getattr(each, name) for each in metrics]) for name in SUMMARISED}
    return {name: spread(value_S) for name, value_S in values.items()}


def spread(value_S: NDArray) -> Spread:
    """Mean and standard deviation of a figure over seeds."""
    return Spread(mean=float(value_S.mean()), sd=float(value_S.std(ddof=1)) if len(value_S) > 1 else None)
