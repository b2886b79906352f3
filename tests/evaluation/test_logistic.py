"""The logistic function of all probabilities."""

import numpy as np
import pytest
from scipy import special

from ctrloom.metrics.logistic import expit

LOGIT = np.concatenate(
    [np.random.default_rng(0).normal(0, 4, 5000), [0, 800, -800, np.inf, -np.inf, np.nan, 1e-300]]
)


def test_expit_is_that_of_scipy() -> None:
    np.testing.assert_allclose(expit(LOGIT), special.expit(LOGIT), rtol=1e-15, atol=1e-300)


@pytest.mark.parametrize("length", [1, 3, 8, 17])
def test_an_element_has_the_same_bits_in_an_array_of_any_length(length: int) -> None:
    parts = [expit(LOGIT[start : start + length]) for start in range(0, len(LOGIT), length)]
    assert np.concatenate(parts).tobytes() == expit(LOGIT).tobytes()
    assert expit(LOGIT[::3]).tobytes() == expit(LOGIT)[::3].tobytes()
