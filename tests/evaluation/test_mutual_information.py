import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from ctrloom.methods.statistics import combination_counts
from ctrloom.methods.statistics.mutual_information import mutual_information
from ctrloom.metrics.measure import EvaluationError

TUPLES: list[tuple[int, ...]] = [(0, 1), (0, 2), (1, 2, 3), (0, 1, 2, 3)]


def rows(count: int, seed: int = 0, values: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, values, (count, 4)).astype(np.int32) + np.arange(4, dtype=np.int32) * 1000
    return ids, (rng.random(count) < 0.1 + 0.6 * ((ids[:, 0] + ids[:, 1]) % 2)).astype(np.float32)


def by_sklearn(ids: np.ndarray, label: np.ndarray, fields: tuple[int, ...]) -> float:
    joint = ["/".join(map(str, row)) for row in ids[:, fields]]
    return float(mutual_info_score(joint, label))


@pytest.mark.parametrize("dense", [0, 1 << 21])
def test_agrees_with_sklearn(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(combination_counts, "DENSE_KEYS", dense)
    ids, label = rows(3000)
    expected = [by_sklearn(ids, label, fields) for fields in TUPLES]
    assert mutual_information(ids, label, TUPLES) == pytest.approx(expected, abs=1e-12)
    assert expected[0] > 0.15 > 0.02 > expected[1] > 0


def test_deterministic_label_has_mutual_information_equal_to_its_entropy() -> None:
    ids = np.array([[a, b] for a in range(2) for b in range(2)] * 5)
    label = ids[:, 0] ^ ids[:, 1]
    assert mutual_information(ids, label, [(0, 1)]) == pytest.approx([np.log(2)])
    assert mutual_information(ids, label, [(0,), (1,)]) == pytest.approx([0, 0], abs=1e-15)


@pytest.mark.parametrize("dense", [0, 1 << 21])
def test_a_weight_counts_as_that_many_rows(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(combination_counts, "DENSE_KEYS", dense)
    ids, label = rows(400)
    weight = np.random.default_rng(1).integers(1, 4, 400)
    repeated = mutual_information(ids.repeat(weight, 0), label.repeat(weight), TUPLES)
    assert mutual_information(ids, label, TUPLES, weight_N=weight) == pytest.approx(repeated, abs=1e-12)


def test_bias_of_many_values_is_corrected() -> None:
    rng = np.random.default_rng(0)
    ids = np.stack(
        [rng.integers(0, 200, 20_000), rng.integers(0, 200, 20_000), rng.integers(0, 2, 20_000)], 1
    )
    label = (rng.random(20_000) < 0.3 + 0.2 * ids[:, 2]).astype(float)
    tuples = [(0, 1), (2,)]  # the first is independent of the label
    noise, signal = mutual_information(ids, label, tuples)
    assert noise > 10 * signal > 0
    noise, signal = mutual_information(ids, label, tuples, corrected=True)
    assert abs(noise) < signal / 2
    assert signal == pytest.approx(mutual_information(ids, label, [(2,)])[0], rel=0.01)


def test_a_sample_is_near_the_whole() -> None:
    ids, label = rows(20_000)
    whole, part = (mutual_information(ids, label, [(0, 1)], max_rows=n) for n in (20_000, 10_000))
    assert whole != part
    assert part == pytest.approx(whole, abs=0.02)


def test_one_label_is_refused() -> None:
    with pytest.raises(EvaluationError, match="training rows must have both labels"):
        mutual_information(rows(100)[0], np.ones(100), [(0, 1)])
