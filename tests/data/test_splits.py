import numpy as np
import pytest
from data_helpers import data_config

from ctrloom.config import RandomSplit
from ctrloom.config.base import ConfigError
from ctrloom.data.ingest import splits

COLUMNS = {"click": "label", "c": "categorical", "t": "timestamp"}


def assigned(split: RandomSplit, labels: np.ndarray, batch: int) -> np.ndarray:
    assign = splits.at_random(split, split.valid, split.test)
    return np.concatenate([assign(labels[i : i + batch], None) for i in range(0, len(labels), batch)])


@pytest.mark.parametrize("stratified", [False, True])
def test_a_random_split_depends_on_the_seed_but_not_on_the_batches(stratified: bool) -> None:
    labels = (np.arange(50_000) % 5 == 0).astype(np.int8)
    split = RandomSplit(valid=0.2, test=0.1, seed=3, stratified=stratified)
    whole = assigned(split, labels, len(labels))
    for batch in (1000, 777):
        np.testing.assert_array_equal(assigned(split, labels, batch), whole)
    assert (assigned(split.model_copy(update={"seed": 4}), labels, 1000) != whole).any()
    np.testing.assert_allclose(np.bincount(whole) / len(whole), [0.7, 0.2, 0.1], atol=0.01)


@pytest.mark.parametrize(("valid", "test"), [(0.1, 0.1), (0.2, 0.0), (0.0, 0.25), (0.33, 0.17), (0.45, 0.5)])
def test_a_stratified_split_has_the_same_label_rate_everywhere(valid: float, test: float) -> None:
    labels = (np.random.default_rng(0).random(45_678) < 0.03).astype(np.int8)
    chosen = assigned(RandomSplit(valid=valid, test=test, stratified=True), labels, 1234)
    for label in (0, 1):
        counts = np.bincount(chosen[labels == label], minlength=3)
        expected = np.array([1 - valid - test, valid, test]) * (labels == label).sum()
        np.testing.assert_allclose(counts, expected, atol=12)


def test_shares_must_leave_rows_to_train_on() -> None:
    split = {"by": "random", "valid": 0.5, "test": 0.5}
    with pytest.raises(ConfigError, match="leave no rows"):
        splits.shares(data_config("a.csv", COLUMNS, split=split))


def test_splits_with_files_have_no_share() -> None:
    files = {"train": ["a.csv"], "test": ["b.csv"]}
    split = {"by": "random", "valid": 0.3, "test": 0.6}
    assert splits.shares(data_config(files, COLUMNS, split=split)) == (0.3, 0.0)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"valid_from": "2014-10-30"}, "test_from is missing"),
        ({"valid_from": "yesterday", "test_from": "2014-10-30"}, "not ISO 8601"),
        ({"valid_from": "2014-10-31", "test_from": "2014-10-30"}, "before"),
    ],
)
def test_invalid_cut_timestamps(split: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        splits.shares(data_config("a.csv", COLUMNS, split={"by": "time", **split}))


def test_a_split_by_time_needs_a_timestamp() -> None:
    columns = {"click": "label", "c": "categorical"}
    with pytest.raises(ConfigError, match="needs a column of kind timestamp"):
        splits.shares(data_config("a.csv", columns, split={"by": "time"}))


def test_cut_timestamps_are_utc() -> None:
    split = {"by": "time", "valid_from": "1970-01-01T01:00:00", "test_from": "1970-01-01T03:00:00+01:00"}
    assert splits.instants(data_config("a.csv", COLUMNS, split=split)) == (3600, 7200)
