from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from ctrloom.evaluation import bootstrap
from ctrloom.evaluation.bootstrap import LoglossBootstrap, bootstrap_logloss
from ctrloom.evaluation.significance import (
    Comparison,
    Difference,
    adjusted,
    delong,
    delong_difference,
    holm,
)
from ctrloom.metrics.measure import EvaluationError, auc, row_logloss


def scores(rows: int, seeds: int, noise: float, seed: int = 0, grain: float = 0.0) -> np.ndarray:
    """Logits of `seeds` trainings over rows whose truth depends only on `seed`."""
    truth = np.random.default_rng([seed, 0]).normal(size=rows)
    rng = np.random.default_rng([seed, 1, seeds, int(noise * 100)])
    logit = truth + noise * rng.normal(size=(seeds, rows))
    return np.round(logit / grain) * grain if grain else logit


def labels(rows: int, seed: int = 0) -> np.ndarray:
    truth = np.random.default_rng([seed, 0]).normal(size=rows)
    return (np.random.default_rng([seed, 2]).random(rows) < expit(truth - 1)).astype(float)


def slow_delong(challenger: np.ndarray, base: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Difference and its variance over rows, by counting every pair of a positive and a negative row."""

    def kernel(score: np.ndarray) -> np.ndarray:
        up, down = score[label == 1][:, None], score[label == 0][None]
        return (up > down) + 0.5 * (up == down)

    difference = np.mean([kernel(c) for c in challenger], 0) - np.mean([kernel(b) for b in base], 0)
    rows, columns = difference.mean(1), difference.mean(0)
    return difference.mean(), np.var(rows, ddof=1) / len(rows) + np.var(columns, ddof=1) / len(columns)


@pytest.mark.parametrize(("seeds", "base_seeds"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("grain", [0.0, 0.5])
def test_delong_agrees_with_counting_pairs(seeds: int, base_seeds: int, grain: float) -> None:
    challenger, base = scores(150, seeds, 0.5, grain=grain), scores(150, base_seeds, 1.0, grain=grain)
    label = labels(150)
    delta, variance = slow_delong(challenger, base, label)
    found = delong(challenger, base, label)
    assert found.delta == pytest.approx(delta, abs=1e-12)
    assert found.se_rows == pytest.approx(np.sqrt(variance), abs=1e-12)
    assert found.delta == pytest.approx(
        np.mean([auc(c, label) for c in challenger]) - np.mean([auc(b, label) for b in base])
    )


def test_seed_variance_is_added() -> None:
    challenger, base, label = scores(300, 4, 1.0), scores(300, 3, 1.5), labels(300)
    found = delong(challenger, base, label)
    parts = [np.var([auc(s, label) for s in side], ddof=1) / len(side) for side in (challenger, base)]
    assert found.se_seeds == pytest.approx(np.sqrt(sum(parts)))
    assert found.se**2 == pytest.approx(found.se_rows**2 + found.se_seeds**2)
    assert found.p >= found.p_rows
    assert delong(challenger[0], base[0], label).se_seeds == 0


def test_equal_weights_change_nothing() -> None:
    challenger, base, label = scores(200, 2, 0.5), scores(200, 2, 1.0), labels(200)
    plain, weighted = (delong(challenger, base, label, w) for w in (None, np.full(200, 3.0)))
    assert weighted.model_dump() == pytest.approx(plain.model_dump())


def test_weighted_variance_against_the_jackknife() -> None:
    challenger, base, label = scores(400, 1, 0.5)[0], scores(400, 1, 1.0)[0], labels(400)
    weight = np.random.default_rng(5).gamma(3.0, size=400)
    found = delong(challenger, base, label, weight)
    keep = ~np.eye(400, dtype=bool)
    left_out = np.array(
        [auc(challenger[k], label[k], weight[k]) - auc(base[k], label[k], weight[k]) for k in keep]
    )
    parts = [left_out[label == y] for y in (0, 1)]
    jackknife = sum((len(p) - 1) / len(p) * np.square(p - p.mean()).sum() for p in parts)
    assert found.se_rows == pytest.approx(np.sqrt(jackknife), rel=0.02)


def test_delong_interval_has_nominal_coverage() -> None:
    inside = 0
    for trial in range(300):
        challenger, base = scores(400, 1, 0.8, seed=trial), scores(400, 1, 0.81, seed=trial)
        found = delong(challenger, base, labels(400, seed=trial), confidence=0.9)
        inside += found.low <= 0 <= found.high  # noise 0.80 and 0.81 are nearly equal
    assert 0.9 * 300 - 3 * np.sqrt(300 * 0.09) <= inside <= 0.9 * 300 + 3 * np.sqrt(300 * 0.09)


def bootstrap_difference(
    challenger: np.ndarray, base: np.ndarray, label: np.ndarray, **more: Any
) -> Difference:
    return LoglossBootstrap([challenger, base], label, **more).difference(0, 1)


def test_adjusted_intervals_agree_with_adjusted_p() -> None:
    label, base = labels(1500), scores(1500, 1, 1.0)
    noises = (0.3, 0.6, 0.8, 0.9, 0.95, 1.02, 1.1)
    for tester, more in ((delong_difference, {}), (bootstrap_difference, {"resamples": 999})):
        tests = [tester(scores(1500, 1, noise), base, label, **more) for noise in noises]
        p_values = holm([tested.comparison.p for tested in tests])
        found = adjusted(tests)
        assert [test.p_adjusted for test in found] == p_values
        assert len({test.significant for test in found}) == 2
        for test, tested in zip(found, tests, strict=True):
            low, high = test.interval
            assert (low > 0 or high < 0) == (test.p_adjusted < 0.05)
            assert low <= tested.comparison.low <= tested.comparison.high <= high


def test_few_resamples_cannot_exclude_zero() -> None:
    label = labels(600)
    tests = [bootstrap_difference(scores(600, 1, 0.1), scores(600, 1, 2.0), label, resamples=60)] * 4
    for test in adjusted(tests):
        assert not test.significant  # the smallest p of 60 resamples is 0.033
        assert test.interval[0] <= 0 <= test.interval[1]


def test_a_swapped_test_is_that_of_the_swapped_models() -> None:
    one, other, label = scores(300, 2, 0.5), scores(300, 3, 1.0), labels(300)
    for tester in (delong_difference, bootstrap_difference):
        there, back = tester(one, other, label).swapped(), tester(other, one, label)
        assert there.comparison.model_dump() == pytest.approx(back.comparison.model_dump())
        assert there.interval(0.99) == pytest.approx(back.interval(0.99))


def flipped(found: Comparison) -> dict[str, object]:
    return found.model_dump() | {"delta": -found.delta, "low": -found.high, "high": -found.low}


@pytest.mark.parametrize(("seeds", "base_seeds"), [(1, 1), (3, 3), (3, 1)])
@pytest.mark.parametrize("test", [delong, bootstrap_logloss])
def test_swapping_flips_the_sign_and_nothing_else(test: object, seeds: int, base_seeds: int) -> None:
    challenger, base, label = scores(300, seeds, 0.5), scores(300, base_seeds, 1.0), labels(300)
    weight = np.random.default_rng(0).gamma(2.0, size=300)
    assert test(base, challenger, label, weight).model_dump() == flipped(
        test(challenger, base, label, weight)
    )


@pytest.mark.parametrize("test", [delong, bootstrap_logloss])
def test_a_model_does_not_differ_from_itself(test: object) -> None:
    logit, label = scores(200, 1, 1.0), labels(200)
    found = test(logit, logit, label)
    assert (found.delta, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert not found.significant


@pytest.mark.parametrize("blocks", [500, 100_000])
def test_bootstrap_agrees_with_the_normal_approximation(blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "BLOCKS", blocks)
    challenger, base, label = scores(4000, 1, 0.9), scores(4000, 1, 1.0), labels(4000)
    difference = row_logloss(challenger[0], label) - row_logloss(base[0], label)
    se = difference.std(ddof=1) / np.sqrt(4000)
    found = bootstrap_logloss(challenger, base, label)
    assert found.delta == pytest.approx(difference.mean())
    assert (found.low, found.high) == pytest.approx(
        (difference.mean() - 1.96 * se, difference.mean() + 1.96 * se), abs=0.15 * se
    )
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(difference.mean()) / se), abs=0.03)


def test_bootstrap_has_the_variance_over_seeds() -> None:
    label = labels(2000)
    challenger = scores(1, 4, 1.0)[:, :1] * 0.2 + scores(2000, 1, 0.5)  # seeds differ by a constant
    base = scores(2000, 1, 0.5)
    losses = row_logloss(challenger, label).mean(1)
    found = bootstrap_logloss(challenger, base, label, resamples=4000)
    assert found.se == pytest.approx(losses.std(ddof=1) / 2, rel=0.1)


def test_bootstrap_is_deterministic_by_seed() -> None:
    arguments = scores(500, 2, 0.5), scores(500, 2, 1.0), labels(500)
    first, again, other = (bootstrap_logloss(*arguments, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_too_few_clicks_are_refused() -> None:
    with pytest.raises(EvaluationError, match="at least two rows of each label"):
        delong([[0.0, 1.0, 2.0]], [[0.0, 1.0, 3.0]], [0, 0, 1])


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(EvaluationError, match="not finite"):
        delong([[0.0, np.nan, 2.0, 1.0]], [[0.0, 1.0, 3.0, 1.0]], [0, 0, 1, 1])


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
