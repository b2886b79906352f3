import time

import numpy as np
import pandas as pd
import pytest

from ctrloom.methods.statistics import combination_counts
from ctrloom.methods.statistics.statistics_auc import PRIOR_ROWS, statistics_auc
from ctrloom.metrics.measure import EvaluationError, auc

FIELDS = 5


def rows(count: int, seed: int, values: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, values, (count, FIELDS)).astype(np.int32)
    return ids, (rng.random(count) < 0.1 + 0.6 * ((ids[:, 0] + ids[:, 1]) % 2)).astype(np.float32)


def by_groupby(
    train: np.ndarray, label: np.ndarray, valid: np.ndarray, fields: tuple[int, ...]
) -> np.ndarray:
    names = [f"f{i}" for i in range(FIELDS)]
    chosen = [names[i] for i in fields]
    table = pd.DataFrame(train, columns=names).assign(label=label.astype(float))
    counts = table.groupby(chosen)["label"].agg(["sum", "count"]).reset_index()
    found = pd.DataFrame(valid, columns=names)[chosen].merge(counts, how="left", on=chosen).fillna(0)
    return ((found["sum"] + PRIOR_ROWS * table["label"].mean()) / (found["count"] + PRIOR_ROWS)).to_numpy()


@pytest.mark.parametrize("dense", [0, 1 << 21])
def test_agrees_with_pandas(dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(combination_counts, "DENSE_KEYS", dense)
    train, valid = rows(1500, 0), rows(700, 1, values=14)  # values 12 and 13 do not occur in training
    tuples = [(0, 1), (2, 4), (0, 1, 3), (0, 1, 2, 3, 4)]
    expected = [auc(by_groupby(*train, valid[0], fields), valid[1]) for fields in tuples]
    assert statistics_auc(*train, *valid, tuples) == pytest.approx(expected, abs=1e-12)
    assert expected[0] > 0.75 > 0.55 > expected[1]


def test_ids_with_offsets_give_the_same() -> None:
    train, valid = rows(1000, 0), rows(500, 1)
    shift = np.arange(FIELDS, dtype=np.int32) * 500_000_000
    moved = statistics_auc(train[0] + shift, train[1], valid[0] + shift, valid[1], [(0, 1), (3, 4)])
    assert moved == pytest.approx(statistics_auc(*train, *valid, [(0, 1), (3, 4)]))


def test_products_past_int64_are_renumbered() -> None:
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 2**31 - 1, (3000, FIELDS)).astype(np.int32)  # some 3000 distinct values a field
    label = rng.integers(0, 2, 3000)
    seen_again = statistics_auc(wide, label, wide, label, [(0, 1, 2, 3, 4)])
    assert seen_again == pytest.approx([1.0])
    unseen = statistics_auc(wide, label, wide[:, ::-1], label, [(0, 1, 2, 3, 4)])
    assert unseen == pytest.approx([0.5])


def test_a_sample_is_near_the_whole() -> None:
    train, valid = rows(20_000, 0), rows(20_000, 1)
    whole, part = (statistics_auc(*train, *valid, [(0, 1)], max_rows=n) for n in (20_000, 10_000))
    assert whole != part
    assert part == pytest.approx(whole, abs=0.02)


def test_one_label_is_refused() -> None:
    train, valid = rows(100, 0), rows(100, 1)
    with pytest.raises(EvaluationError, match="validation rows must have both labels"):
        statistics_auc(*train, valid[0], np.ones(100), [(0, 1)])


def test_forty_five_pairs_of_large_fields_take_seconds() -> None:
    rng = np.random.default_rng(0)
    ids = (20_000 * rng.random((60_000, 10)) ** 3).astype(np.int32)
    label = rng.integers(0, 2, 60_000)
    began = time.perf_counter()
    statistics_auc(ids, label, ids, label, [(i, j) for i in range(10) for j in range(i + 1, 10)])
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize("size", [5, 3000])
def test_a_weight_counts_as_that_many_rows(size):
    rng = np.random.default_rng(size)
    ids = rng.integers(0, size, (400, 2))
    label = (rng.random(400) < 0.4).astype(float)
    weight = rng.integers(1, 4, 400)
    often = np.repeat(np.arange(400), weight)
    halves = slice(0, 200), slice(200, 400)
    weighted = statistics_auc(
        ids[halves[0]],
        label[halves[0]],
        ids[halves[1]],
        label[halves[1]],
        [(0, 1)],
        train_weight_N=weight[halves[0]],
        valid_weight_M=weight[halves[1]],
    )
    first, second = often[often < 200], often[often >= 200]
    repeated = statistics_auc(ids[first], label[first], ids[second], label[second], [(0, 1)])
    assert weighted == pytest.approx(repeated, abs=1e-12)
