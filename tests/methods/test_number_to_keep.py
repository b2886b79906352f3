"""What the residual test keeps for prediction, compared with scikit-learn's logistic regression."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from small import rows_of, schema_of

from ctrloom.config import MODELS, ResidualConfig
from ctrloom.data.batches.batch import Batch
from ctrloom.methods.interface import SearchData, SearchResult
from ctrloom.methods.residual import search
from ctrloom.methods.statistics.evidence import CELL_VARIANCE, MAIN_VARIANCE
from ctrloom.methods.statistics.field_codes import CodedRows, Coder
from ctrloom.methods.statistics.number_to_keep import best_number
from ctrloom.metrics.measure import EvaluationError

SIZES = (6, 7, 8, 9, 10)
SCHEMA = schema_of(*[("categorical", size) for size in SIZES])
PAIRS = list(combinations(range(5), 2))
CPU = torch.device("cpu")


def clicks(rows: int, seed: int, strength: float, weighted: bool = False) -> Batch:
    """Rows with main effects, and an effect of every pair of the given standard deviation."""
    drawn, rng, planted = rows_of(SCHEMA, rows, seed), np.random.default_rng(seed), np.random.default_rng(99)
    value_NF = drawn.ids_NC.numpy() - np.array(SCHEMA.offsets)
    logit = sum(planted.normal(0, 0.7, size)[value_NF[:, f]] for f, size in enumerate(SIZES))
    for a, b in PAIRS:
        logit = logit + strength * planted.normal(0, 1, (SIZES[a], SIZES[b]))[value_NF[:, a], value_NF[:, b]]
    label_N = torch.from_numpy((rng.random(rows) < expit(logit)).astype(np.float32))
    weight_N = torch.from_numpy(rng.integers(1, 4, rows).astype(np.float32)) if weighted else None
    return Batch(drawn.ids_NC, label_N, weight_N=weight_N)


def expected_losses(rows: CodedRows, ranked: list[tuple[int, ...]]) -> dict[int, float]:
    """Logloss of the second part of the rows by scikit-learn, for every number of pairs."""
    code_NF, count = np.stack(rows.code_FN, 1), rows.parts[0]
    label_N = rows.label_N.numpy()
    weight_N = np.ones(len(rows)) if rows.weight_N is None else rows.weight_N.numpy()
    found = {}
    for number in range(len(ranked) + 1):
        columns = [(code_NF[:, f], MAIN_VARIANCE) for f in range(5)]
        columns += [(code_NF[:, a] * 100 + code_NF[:, b], CELL_VARIANCE) for a, b in ranked[:number]]
        one_hot = [(key[:, None] == np.unique(key)) * variance**0.5 for key, variance in columns]
        x_NX = np.concatenate(one_hot, 1)
        model = LogisticRegression(C=1.0, max_iter=1000, tol=1e-8)
        model.fit(x_NX[:count], label_N[:count], weight_N[:count] / weight_N.mean())
        p_N = model.predict_proba(x_NX[count:])[:, 1]
        found[number] = log_loss(label_N[count:], p_N, sample_weight=weight_N[count:])
    return found


@pytest.mark.parametrize(("strength", "weighted"), [(0.0, False), (0.25, False), (0.25, True), (0.5, True)])
def test_number_is_that_of_penalised_logistic_regressions(strength: float, weighted: bool) -> None:
    train, valid = clicks(3000, 1, strength, weighted), clicks(2000, 2, strength, weighted)
    rows = CodedRows.of(Coder.fit(SCHEMA, train), train, valid)
    losses = expected_losses(rows, PAIRS)
    tried = {number: losses[number] for number in (0, 1, 2, 4, 8, 10)}
    assert best_number(rows, PAIRS, [], CPU, "test") == min(tried, key=lambda number: tried[number])


def test_known_interactions_are_part_of_every_model() -> None:
    train, valid = clicks(6000, 1, 0.5), clicks(4000, 2, 0.5)
    rows = CodedRows.of(Coder.fit(SCHEMA, train), train, valid)
    assert best_number(rows, PAIRS[:1], [], CPU, "test") == 1
    assert best_number(rows, PAIRS[:1], PAIRS[:1], CPU, "test") == 0, "nothing is left to gain"
    assert best_number(rows, [], [], CPU, "test") == 0


def searched(keep: str, strength: float) -> SearchResult:
    data = SearchData(clicks(4000, 1, strength), clicks(3000, 2, strength), SCHEMA)
    config = ResidualConfig.parse({"method": "residual", "keep": keep, "order": 2}, "test")
    return search(data, config, MODELS["autofm"].settings())


def test_weak_interactions_are_kept_for_prediction_and_marked() -> None:
    significant, predictive = searched("significant", 0.25), searched("predictive", 0.25)
    both = [len(each.architecture.interactions) for each in (significant, predictive)]
    assert both[0] < both[1]
    by_score = sorted(predictive.trace.candidates, key=lambda each: -each.score)
    assert [each.kept for each in by_score] == [place < both[1] for place in range(len(PAIRS))]
    marked = {each.fields for each in predictive.trace.candidates if each.unconfirmed}
    assert marked
    assert marked <= {each.fields for each in predictive.architecture.interactions}
    assert not any(each.unconfirmed for each in significant.trace.candidates)


def test_nothing_is_kept_where_there_is_nothing() -> None:
    assert searched("predictive", 0.0).architecture.interactions == ()


def test_validation_rows_without_weight_are_an_error() -> None:
    train, valid = clicks(500, 1, 0.5, weighted=True), clicks(500, 2, 0.5, weighted=True)
    rows = CodedRows.of(Coder.fit(SCHEMA, train), train, replace(valid, weight_N=torch.zeros(500)))
    with pytest.raises(EvaluationError, match="keep: predictive needs validation rows"):
        best_number(rows, PAIRS, [], CPU, "test")
