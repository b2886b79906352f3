import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import expit
from scipy.special import logit as log_odds
from sklearn import metrics as sk

from ctrloom.metrics.measure import EvaluationError, auc, confusion, measure, roc_curve

ROWS = 400


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    logit = rng.normal(-1, 1.5, ROWS).round(1)  # rounding makes ties
    return logit, (rng.random(ROWS) < expit(logit)).astype(float), rng.gamma(2.0, size=ROWS)


@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_scikit_learn(rows: tuple[np.ndarray, ...], weighted: bool) -> None:
    logit, label, weight = rows
    weight_or_none = weight if weighted else None
    found = measure(logit, label, weight_or_none)
    prob = expit(logit)
    assert found.auc == pytest.approx(sk.roc_auc_score(label, logit, sample_weight=weight_or_none), abs=1e-12)
    assert found.logloss == pytest.approx(sk.log_loss(label, prob, sample_weight=weight_or_none), abs=1e-12)
    assert found.brier == pytest.approx(
        sk.brier_score_loss(label, prob, sample_weight=weight_or_none), abs=1e-12
    )
    rate = np.average(label, weights=weight_or_none)
    constant = sk.log_loss(label, np.full(ROWS, rate), sample_weight=weight_or_none)
    assert found.normalised_entropy == pytest.approx(found.logloss / constant)
    assert found.label_rate == pytest.approx(rate)
    total = weight if weighted else np.ones(ROWS)
    assert found.calibration_ratio == pytest.approx((prob * total).sum() / (label * total).sum())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_auc_with_ties_is_the_count_of_ordered_pairs(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 25))
    score = data.draw(arrays.arrays(np.float64, size, elements=st.integers(-2, 2).map(float)))
    label = data.draw(arrays.arrays(np.float64, size, elements=st.sampled_from([0.0, 1.0])))
    weight = data.draw(arrays.arrays(np.float64, size, elements=st.integers(1, 4).map(float)))
    label[:2] = 0, 1
    ahead = (score[:, None] > score[None]) + 0.5 * (score[:, None] == score[None])
    pairs = np.outer(weight * label, weight * (1 - label))
    assert auc(score, label, weight) == pytest.approx((ahead * pairs).sum() / pairs.sum(), abs=1e-12)


def test_weights_are_repeated_rows(rows: tuple[np.ndarray, ...]) -> None:
    logit, label, _ = rows
    times = np.random.default_rng(1).integers(1, 4, ROWS)
    repeated = measure(np.repeat(logit, times), np.repeat(label, times))
    weighted = measure(logit, label, times)
    for name in set(type(weighted).model_fields) - {"rows", "reliability"}:
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name)), name
    for one, other in zip(weighted.reliability, repeated.reliability, strict=True):
        assert one.model_dump() == pytest.approx(other.model_dump())


def test_logloss_is_stable_for_huge_logits() -> None:
    found = measure([-2000.0, 2000.0, 1000.0], [0, 1, 0])
    assert found.logloss == pytest.approx(1000 / 3)
    assert found.brier == pytest.approx(1 / 3)


def test_calibration_error_against_a_loop() -> None:
    rng = np.random.default_rng(2)
    prob, weight = rng.random(200), rng.gamma(3.0, size=200)
    label = (rng.random(200) < prob**2).astype(float)
    order, seen, bins = np.argsort(prob), 0.0, [[] for _ in range(7)]
    for row in order:
        middle = seen + weight[row] / 2
        bins[int(middle * 7 / weight.sum())].append(row)
        seen += weight[row]
    expected = [
        (np.average(prob[b], weights=weight[b]), np.average(label[b], weights=weight[b]), weight[b].sum())
        for b in bins
    ]
    found = measure(log_odds(prob), label, weight, bins=7)
    assert [(b.predicted, b.observed, b.weight) for b in found.reliability] == [
        pytest.approx(e) for e in expected
    ]
    error = sum(w * abs(p - y) for p, y, w in expected) / weight.sum()
    assert found.calibration_error == pytest.approx(error)


def test_reliability_does_not_depend_on_row_order_where_scores_tie(rows: tuple[np.ndarray, ...]) -> None:
    logit, label, weight = rows
    shuffled = np.random.default_rng(3).permutation(ROWS)
    first, second = (
        measure(logit[i], label[i], weight[i], bins=10).reliability for i in (np.arange(ROWS), shuffled)
    )
    assert [b.predicted for b in first] == pytest.approx([b.predicted for b in second])
    assert [b.observed for b in first] == pytest.approx([b.observed for b in second])


def test_constant_scores_fill_one_bin() -> None:
    table = measure(np.full(10, log_odds(0.3)), np.arange(10) % 2, bins=5).reliability
    assert [(b.predicted, b.observed, b.weight) for b in table] == [pytest.approx((0.3, 0.5, 10.0))]


def test_roc_curve_passes_through_scikit_learns_points(rows: tuple[np.ndarray, ...]) -> None:
    logit, label, weight = rows
    false, true, threshold = sk.roc_curve(label, logit, sample_weight=weight, drop_intermediate=False)
    curve = roc_curve(logit, label, weight, points=10_000)
    assert curve.false_positive == pytest.approx(false)
    assert curve.true_positive == pytest.approx(true)
    assert curve.threshold[1:] == pytest.approx(threshold[1:])
    assert curve.threshold[0] > max(logit), "no row is above the first point"
    assert np.trapezoid(curve.true_positive, curve.false_positive) == pytest.approx(auc(logit, label, weight))


def test_confusion_is_scikit_learns(rows: tuple[np.ndarray, ...]) -> None:
    logit, label, weight = rows
    threshold = float(np.median(logit))
    found = confusion(logit, label, weight, threshold)
    expected = sk.confusion_matrix(label, logit >= threshold, sample_weight=weight).ravel()
    assert (
        found.true_negative,
        found.false_positive,
        found.false_negative,
        found.true_positive,
    ) == pytest.approx(tuple(expected))


def test_roc_curve_is_thinned() -> None:
    rng = np.random.default_rng(4)
    score, label = rng.normal(size=5000), rng.integers(0, 2, 5000)
    curve = roc_curve(score, label)
    assert len(curve.true_positive) == len(curve.false_positive) <= 200
    assert (curve.true_positive[0], curve.false_positive[0]) == (0, 0)
    assert (curve.true_positive[-1], curve.false_positive[-1]) == pytest.approx((1, 1))
    thin = np.trapezoid(curve.true_positive, curve.false_positive)
    assert thin == pytest.approx(auc(score, label), abs=1e-4)


@pytest.mark.parametrize(
    ("logit", "label", "message"),
    [
        ([0.0, np.nan], [0, 1], "1 of 2 scores are not finite"),
        ([0.0, 1.0], [1, 1], "both labels"),
        ([0.0, 1.0], [0, 1, 1], "the same length, got 2, 3, 3"),
    ],
)
def test_measure_rejects_invalid_input(logit: list[float], label: list[int], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        measure(logit, label)
