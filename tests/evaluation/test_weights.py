"""Rows of weight 0 count for nothing: appending some changes no figure."""

import numpy as np
import pytest
from invented_results import made_up_models, made_up_trace
from test_results import DATA

from ctrloom.config import EvaluationConfig
from ctrloom.config.promotion_gate import PromotionGateConfig
from ctrloom.data.row_values import RowValues
from ctrloom.evaluation.bootstrap import bootstrap_logloss
from ctrloom.evaluation.compare import Labels, compare_models
from ctrloom.evaluation.paired_tests import PairedTests
from ctrloom.evaluation.promotion_gate import Scores, beyond_chance, decide
from ctrloom.evaluation.segments import coverage, segment_table
from ctrloom.evaluation.significance import delong
from ctrloom.methods.statistics.mutual_information import mutual_information
from ctrloom.methods.statistics.statistics_auc import statistics_auc
from ctrloom.metrics.grouped import gauc
from ctrloom.metrics.measure import EvaluationError, auc, confusion, measure, roc_curve

ROWS, MORE = 300, 170
RNG = np.random.default_rng(3)
LABEL = (RNG.random(ROWS) < 0.3).astype(float)
WEIGHT = RNG.integers(1, 4, ROWS).astype(float)
LOGIT = RNG.normal(LABEL, 1.0, (4, ROWS)).round(1)
IDS = RNG.integers(0, 5, (ROWS, 3))


def longer(array: np.ndarray, more: np.ndarray) -> np.ndarray:
    """The array and, inserted at random places, as many further rows."""
    places = np.sort(np.random.default_rng(1).integers(0, ROWS + 1, MORE))
    return np.insert(array, places, more, axis=array.ndim - 1 if array.ndim > 1 and array is LOGIT else 0)


LONG_LABEL = longer(LABEL, RNG.integers(0, 2, MORE))
LONG_WEIGHT = longer(WEIGHT, np.zeros(MORE))
LONG_LOGIT = longer(LOGIT, RNG.normal(0, 30, (4, MORE)))
LONG_IDS = longer(IDS, RNG.integers(0, 9, (MORE, 3)))


def test_metrics() -> None:
    short, long = (LOGIT[0], LABEL, WEIGHT), (LONG_LOGIT[0], LONG_LABEL, LONG_WEIGHT)
    assert measure(*long) == measure(*short)
    assert measure(*long).rows == ROWS
    assert auc(*long) == auc(*short)
    assert roc_curve(*long) == roc_curve(*short)
    assert confusion(*long, 0.4) == confusion(*short, 0.4)
    groups, long_groups = IDS[:, 0], LONG_IDS[:, 0]
    assert gauc(long[0], long[1], long_groups, long[2]) == gauc(*short[:2], groups, short[2])


@pytest.mark.parametrize("test", [delong, bootstrap_logloss])
def test_significance(test) -> None:
    short = test(LOGIT[:2], LOGIT[2:], LABEL, WEIGHT)
    assert test(LONG_LOGIT[:2], LONG_LOGIT[2:], LONG_LABEL, LONG_WEIGHT) == short


def test_a_weightless_click_is_no_evidence() -> None:
    label, weight = np.array([1.0, 1.0, 0.0, 0.0, 0.0]), np.array([1.0, 0.0, 1.0, 1.0, 1.0])
    with pytest.raises(EvaluationError, match="at least two rows of each label"):
        delong(np.arange(5.0), np.arange(5.0), label, weight)
    with pytest.raises(EvaluationError, match="both labels"):
        measure(np.arange(5.0), label, 1 - label)


def test_results_of_all_models() -> None:
    trace, evaluation = made_up_trace(), EvaluationConfig(base="fm", bootstrap=50)

    def results(label: np.ndarray, weight: np.ndarray, logits: np.ndarray):
        given = [
            type(model)(**{**vars(model), "valid_logit_SN": logits[:2] + i, "test_logit_SN": logits[2:] * i})
            for i, model in enumerate(made_up_models(trace, (LABEL, LABEL), seeds=2), 1)
        ]
        labels = Labels(label, weight)
        return compare_models(given, labels, labels, DATA, evaluation, "0", {})

    short, long = results(LABEL, WEIGHT, LOGIT), results(LONG_LABEL, LONG_WEIGHT, LONG_LOGIT)
    assert long == short
    assert {versus.rows for versus in (*long.comparisons, *long.against_best)} == {ROWS}


def test_paired_tests_of_models_with_different_numbers_of_seeds() -> None:
    evaluation, pairs = EvaluationConfig(bootstrap=50), [("a", "b"), ("b", "a")]

    def tested(label: np.ndarray, weight: np.ndarray, logits: np.ndarray):
        return PairedTests({"a": logits[:3], "b": logits[3:]}, label, weight, evaluation).of(pairs)

    long = tested(LONG_LABEL, LONG_WEIGHT, LONG_LOGIT)
    assert long == tested(LABEL, WEIGHT, LOGIT)
    for versus, sign in zip(long, (1, -1), strict=True):
        alone = delong(LOGIT[:3], LOGIT[3:], LABEL, WEIGHT)
        assert versus.auc.delta == sign * alone.delta
        assert versus.auc.se_seeds == alone.se_seeds > 0
        loss = bootstrap_logloss(LOGIT[:3], LOGIT[3:], LABEL, WEIGHT, resamples=50)
        assert versus.logloss.delta == pytest.approx(sign * loss.delta)
        assert versus.logloss.p == loss.p


def test_promotion() -> None:
    config = PromotionGateConfig.parse({"bootstrap": 50, "min_clicks": int(LABEL.sum())}, "gate")

    def verdict(label: np.ndarray, weight: np.ndarray, logits: np.ndarray):
        sides = [Scores("M", None, None, "data", logit_N) for logit_N in logits[:2]]
        return decide(*sides, label, weight, config, "rows", "code")

    long = verdict(LONG_LABEL, LONG_WEIGHT, LONG_LOGIT)
    assert long == verdict(LABEL, WEIGHT, LOGIT)
    assert (long.rows, long.clicks) == (ROWS, LABEL.sum())


@pytest.mark.parametrize("scale", [2.0**-39, 2.0**39])
def test_only_ratios_of_weights_matter(scale: float) -> None:
    plain, scaled = (measure(LOGIT[0], LABEL, weight) for weight in (WEIGHT, WEIGHT * scale))
    shared = {"exclude": {"reliability"}}
    assert scaled.model_dump(**shared) == plain.model_dump(**shared)
    assert beyond_chance(scaled) == pytest.approx(beyond_chance(plain), rel=1e-12)
    assert delong(LOGIT[:2], LOGIT[2:], LABEL, WEIGHT * scale) == delong(LOGIT[:2], LOGIT[2:], LABEL, WEIGHT)


def test_a_label_with_hardly_any_weight_is_an_error() -> None:
    for weight in (np.where(LABEL == 1, 1e12, 1e-12), np.where(LABEL == 1, 1e-12, 1e12), LABEL * 0):
        with pytest.raises(EvaluationError, match="rows with weight must have both labels"):
            measure(LOGIT[0], LABEL, weight)


def test_segments_and_groups() -> None:
    import pyarrow as pa

    def values(ids: np.ndarray) -> RowValues:
        return RowValues("a", ids[:, 0], pa.array([f"v{i}" for i in range(9)]), np.arange(9) > 0)

    long = segment_table(values(LONG_IDS), LONG_LABEL, LONG_WEIGHT, {"m": LONG_LOGIT}, 3)
    assert long == segment_table(values(IDS), LABEL, WEIGHT, {"m": LOGIT}, 3)
    assert sum(segment.rows for segment in long.segments) == ROWS
    assert coverage(values(LONG_IDS), LONG_LABEL, LONG_WEIGHT) == coverage(values(IDS), LABEL, WEIGHT)


@pytest.mark.parametrize("most", [10_000, 200])
def test_statistics_of_candidates(most: int) -> None:
    tuples = [(0, 1), (1, 2)]
    short, long = (IDS, LABEL, WEIGHT), (LONG_IDS, LONG_LABEL, LONG_WEIGHT)
    got, expected = (
        mutual_information(ids, label, tuples, most, weight) for ids, label, weight in (long, short)
    )
    np.testing.assert_array_equal(got, expected)
    got, expected = (
        statistics_auc(ids, label, ids, label, tuples, most, weight, weight)
        for ids, label, weight in (long, short)
    )
    np.testing.assert_array_equal(got, expected)
