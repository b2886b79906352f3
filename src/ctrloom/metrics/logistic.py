"""The logistic function."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def expit(logit: ArrayLike) -> NDArray[np.float64]:
    """Probability of each logit, with the same bits in an array of any length."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(1 / (1 + np.exp(-np.asarray(logit, np.float64))))
