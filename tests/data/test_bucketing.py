import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrloom.config import Boundaries, EqualFrequency, EqualWidth, Keep, LogSquared, RowsPerBucket
from ctrloom.config.base import ConfigError
from ctrloom.data.vocabulary.bucketing import bucket_labels, check, codes, fit, scaled

NUMBERS = st.floats(-1e12, 1e12)


def fitted(
    method: EqualFrequency | EqualWidth | RowsPerBucket | Keep, values: list[float], chunk: int = 3
) -> tuple[float, ...]:
    distinct, counts = np.unique(np.array(values, dtype=float), return_counts=True)
    chunks = [(distinct[i : i + chunk], counts[i : i + chunk]) for i in range(0, len(distinct), chunk)]
    return fit(method, chunks, len(values))


def test_log_squared_is_the_published_formula() -> None:
    values = np.array([-3.0, -0.5, 0, 1, 1.9, 2, 2.1, 3, 10, 1000, -1e300, 1e300])
    expected = [-3, -1, 0, 1, 1, 2, 0, 1, 5, 47, -(2**62), int(np.log(1e300) ** 2)]
    assert codes(LogSquared(), (), values).tolist() == expected


@given(st.lists(NUMBERS, min_size=1, max_size=60), st.integers(2, 12))
def test_boundaries_ascend_and_buckets_are_monotone(values: list[float], buckets: int) -> None:
    for method in (
        EqualFrequency(buckets=buckets),
        EqualWidth(buckets=buckets),
        RowsPerBucket(rows=buckets),
    ):
        boundaries = fitted(method, values)
        assert len(boundaries) < (len(values) if isinstance(method, RowsPerBucket) else buckets)
        assert np.all(np.diff(boundaries) > 0)
        found = codes(method, boundaries, np.sort(values))
        assert np.all(np.diff(found) >= 0)
        assert found.min() >= 0
        assert found.max() <= len(boundaries)
        labels = bucket_labels(method, boundaries, range(len(boundaries) + 1))
        assert len(set(labels)) == len(labels)


@given(st.lists(NUMBERS, min_size=40, max_size=200, unique=True), st.integers(2, 10))
def test_buckets_of_equal_frequency_hold_equally_many(values: list[float], buckets: int) -> None:
    method = EqualFrequency(buckets=buckets)
    counts = np.bincount(codes(method, fitted(method, values), np.array(values)), minlength=buckets)
    assert counts.max() - counts.min() <= 1


def thresholds(values: list[float], rows: int) -> list[float]:
    """The largest value of every bucket but the last, as the code of AutoFIS' data set closes them."""
    closed, left = [], sorted(values)
    while left:
        end = next((value for place, value in enumerate(left, 1) if place > rows), left[-1])
        left = [value for value in left if value > end]
        closed += [end] if left else []
    return closed


@given(st.lists(st.integers(-5, 40), min_size=1, max_size=200), st.integers(1, 20), st.integers(1, 9))
def test_a_bucket_ends_once_it_has_more_rows(values: list[float], rows: int, chunk: int) -> None:
    method = RowsPerBucket(rows=rows)
    found = codes(method, fitted(method, values, chunk), np.array(values))
    ends = np.array(thresholds(values, rows))
    assert found.tolist() == [int((ends < value).sum()) for value in values]


def test_forty_rows_per_bucket_make_many_buckets() -> None:
    method = RowsPerBucket()
    assert method.rows == 40
    values = [float(value) for value in range(5000) for _ in range(41)]
    boundaries = fitted(method, values, chunk=999)
    assert boundaries == tuple(map(float, range(1, 5000)))
    assert bucket_labels(method, boundaries, [0, 7, 4999]) == ["< 1", "[7, 8)", ">= 4999"]
    assert len(fitted(method, [float(value) for value in range(410)])) == 9  # 41 rows in each


def test_equal_values_are_in_one_bucket() -> None:
    method = EqualFrequency(buckets=4)
    assert fitted(method, [0] * 50 + [1] * 25 + [2] * 25) == (1.0, 2.0)
    assert fitted(method, [5] * 10) == ()
    assert fitted(EqualWidth(buckets=4), [5] * 10) == ()


def test_equal_width() -> None:
    boundaries = fitted(EqualWidth(buckets=4), [0, 1, 2, 8])
    assert boundaries == (2.0, 4.0, 6.0)
    assert codes(EqualWidth(buckets=4), boundaries, np.array([-9, 1.99, 2, 6, 99])).tolist() == [
        0,
        0,
        1,
        3,
        3,
    ]


def test_given_boundaries_and_their_labels() -> None:
    method = Boundaries(values=(0, 1.5, 10))
    assert fit(method, [], 0) == (0, 1.5, 10)
    found = codes(method, method.values, np.array([-1, 0, 1.5, 9, 10]))
    labels = bucket_labels(method, method.values, found.tolist())
    assert labels == ["< 0", "[0, 1.5)", "[1.5, 10)", "[1.5, 10)", ">= 10"]
    with pytest.raises(ConfigError, match="must be strictly ascending"):
        check(Boundaries(values=(1, 1)), "age")


def test_scaling() -> None:
    values = np.array([-5.0, 0, 5, 20])
    assert fitted(Keep(), [10, 0, 5]) == (0.0, 10.0)
    assert scaled(Keep(), (0.0, 10.0), values).tolist() == [0, 0, 0.5, 1]
    assert scaled(Keep(), (3.0, 3.0), np.array([2.0, 3, 5])).tolist() == [0, 0, 1]
    assert scaled(Keep(scaling="none"), (), np.array([1e300])).tolist() == [np.finfo(np.float32).max]
    np.testing.assert_allclose(
        scaled(Keep(scaling="log"), (), values), np.sign(values) * np.log1p(abs(values))
    )


def published(x: float) -> float:
    """AutoInt's code."""
    return int(math.log(x) ** 2) if x > 2 else x


@given(st.lists(st.one_of(st.integers(-5, 10**7).map(float), st.floats(-9, 1e9)), min_size=1))
def test_log_squared_numbers_are_those_of_the_published_code(values: list[float]) -> None:
    method = Keep(scaling="log_squared")
    assert fitted(method, values) == ()
    found = scaled(method, (), np.array(values))
    assert found.tolist() == np.array([published(x) for x in values], np.float32).tolist()


def test_log_squared_numbers_are_finite() -> None:
    largest = float(np.finfo(np.float32).max)
    method = Keep(scaling="log_squared")
    given = np.array([1e308, 2.0, np.nextafter(2, 3), -1e300])
    assert scaled(method, (), given).tolist() == [int(math.log(1e308) ** 2), 2, 0, -largest]


def test_a_column_without_values_has_no_boundaries() -> None:
    assert fit(EqualFrequency(), [], 0) == ()
    assert fit(EqualWidth(), [], 0) == ()
    assert fit(RowsPerBucket(), [], 0) == ()
    assert fit(Keep(), [], 0) == (0.0, 1.0)
