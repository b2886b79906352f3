"""Assignment of rows to splits: random, stratified by label, or by time."""

import datetime
import zoneinfo
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ctrloom.config import DataConfig, RandomSplit, TimeSplit
from ctrloom.config.base import ConfigError
from ctrloom.data.errors import DataError

if TYPE_CHECKING:
    from ibis.expr.types import Table

TRAIN, VALID, TEST = 0, 1, 2
_CHUNK = 1000  # blocks of a stratified split per draw
_BLOCK = 20  # rows of one class per block; the shares are exact in each block

Assign = Callable[[np.ndarray, np.ndarray | None], np.ndarray]  # labels, timestamps -> split per row


def shares(config: DataConfig) -> tuple[float, float]:
    """Shares of the training files for validation and test rows; 0 for a split that has its own files.

    Raises:
        ConfigError: no training rows are left, or a time split lacks a timestamp column or one of its cuts.
    """
    valid = 0.0 if config.files.valid else config.split.valid
    test = 0.0 if config.files.test else config.split.test
    if valid + test >= 1:
        raise ConfigError(f"data.split: valid {valid} and test {test} leave no rows to train on")
    if isinstance(config.split, TimeSplit) and (valid or test):
        if not config.named("timestamp"):
            raise ConfigError("data.split: a split by time needs a column of kind timestamp")
        instants(config)
    return valid, test


def instants(config: DataConfig) -> tuple[int, int] | None:
    """First second of validation and of test rows, if configured."""
    split = config.split
    if not isinstance(split, TimeSplit) or (split.valid_from is None and split.test_from is None):
        return None
    never = np.iinfo(np.int64).max
    zone = config.timezone
    test = never if config.files.test else _second("test_from", split.test_from, zone)
    valid = test if config.files.valid else _second("valid_from", split.valid_from, zone)
    if valid > test:
        raise ConfigError("data.split: valid_from must be before test_from")
    return valid, test


def _second(key: str, text: str | None, zone: str) -> int:
    if text is None:
        raise ConfigError(f"data.split: {key} is missing; set both instants, or shares")
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"data.split.{key}: {text!r} is not ISO 8601, such as 2014-10-30T00:00:00"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zoneinfo.ZoneInfo(zone))
    return int(moment.timestamp())


def at_random(split: RandomSplit, valid: float, test: float) -> Assign:
    """Random split, independent of the batch size."""
    if split.stratified:
        return _Stratified(split.seed, valid, test)
    generator = np.random.default_rng(split.seed)

    def assign(labels: np.ndarray, timestamps: np.ndarray | None) -> np.ndarray:
        return np.searchsorted([1 - valid - test, 1 - test], generator.random(len(labels)), side="right")

    return assign


class _Stratified:
    """Assigns the rows of each class in small shuffled blocks with exact shares."""

    def __init__(self, seed: int, valid: float, test: float) -> None:
        self.seed, self.valid, self.test = seed, valid, test
        self.dealt = {0: 0, 1: 0}  # draws so far, by class
        self.hand = {0: np.empty(0, np.int64), 1: np.empty(0, np.int64)}

    def __call__(self, labels: np.ndarray, timestamps: np.ndarray | None) -> np.ndarray:
        splits = np.empty(len(labels), dtype=np.int64)
        for label in (0, 1):
            of_class = np.flatnonzero(labels == label)
            while len(self.hand[label]) < len(of_class):
                self.hand[label] = np.concatenate([self.hand[label], self._deal(label)])
            splits[of_class] = self.hand[label][: len(of_class)]
            self.hand[label] = self.hand[label][len(of_class) :]
        return splits

    def _deal(self, label: int) -> np.ndarray:
        generator = np.random.default_rng([self.seed, label, self.dealt[label]])
        blocks = _CHUNK * self.dealt[label] + np.arange(_CHUNK + 1)
        self.dealt[label] += 1
        test, valid = (np.diff(np.floor(blocks * _BLOCK * s + 0.5)) for s in (self.test, self.valid))
        place = np.arange(_BLOCK)
        held_out = np.where(place < test[:, None], TEST, VALID)
        ordered = np.where(place < (test + valid)[:, None], held_out, TRAIN)
        return np.asarray(generator.permuted(ordered, axis=1).ravel())


def by_time(valid_from: int, test_from: int) -> Assign:
    """Training rows before `valid_from`, test rows from `test_from`, validation rows in between."""

    def assign(labels: np.ndarray, timestamps: np.ndarray | None) -> np.ndarray:
        assert timestamps is not None
        return np.searchsorted([valid_from, test_from], timestamps, side="right")

    return assign


def cuts(rows: "Table", valid: float, test: float) -> tuple[int, int]:
    """Timestamps that split `rows` so that the newest shares are closest to `valid` and `test`.

    Rows with the same timestamp stay together.

    Raises:
        DataError: all rows have the same timestamp.
    """
    import ibis

    per_instant = rows.group_by("timestamp").agg(n=ibis._.count())
    newest_first = ibis.window(order_by=ibis.desc("timestamp"), following=0)
    newer = per_instant.select("timestamp", newer=per_instant.n.sum().over(newest_first))
    total = rows.count().to_pyarrow().as_py()
    if per_instant.count().to_pyarrow().as_py() < 2:
        raise DataError("a split by time needs more than one distinct timestamp; set `split: {by: random}`")

    def cut(share: float) -> int:
        if not share:
            return int(np.iinfo(np.int64).max)
        off = (newer.newer.cast("float64") - share * total).abs()
        nearest = newer.order_by([off, ibis.desc("timestamp")]).limit(1).to_pyarrow()
        return int(nearest["timestamp"][0].as_py())

    return min(cut(valid + test) if valid else cut(test), cut(test)), cut(test)
