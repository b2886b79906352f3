"""Mutual information of combinations of fields with the label.

N rows, F fields.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from ctrloom.methods.statistics import combination_counts
from ctrloom.methods.statistics.combination_counts import Ids, Labels
from ctrloom.metrics.measure import Floats


def mutual_information(
    ids_NF: NDArray,
    label_N: NDArray,
    tuples: list[tuple[int, ...]],
    max_rows: int = 1_000_000,
    weight_N: NDArray | None = None,
    corrected: bool = False,
) -> Floats:
    """Mutual information of the joint value of each tuple of fields with the label, in nats.

    The plug-in estimate is biased upwards for fields with many values: a value that occurs once "explains"
    its row. `corrected` subtracts the estimate with shuffled labels (the result can be negative). Row weights
    count as that many rows; at most `max_rows` random rows are used.

    Source: OptInter, Eq. 21.

    Returns:
        One value per tuple of field indices.

    Raises:
        EvaluationError: only one label occurs.
    """
    ids_NF, rows = combination_counts.sample(ids_NF, label_N, weight_N, max_rows)
    rows.require_both("training")
    codes = {
        field: combination_counts.numbered(ids_NF[:, field])
        for field in {f for names in tuples for f in names}
    }
    figures = []
    for fields in tuples:
        key_N, size = combination_counts.combined([codes[field] for field in fields])
        figure = max(0.0, _information(key_N, size, rows))
        figures.append(figure - _information(key_N, size, rows.shuffled()) if corrected else figure)
    return np.array(figures, np.float64)


def _information(key_N: Ids, size: int, rows: Labels) -> float:
    """H(key) + H(label) - H(key, label), as sums of n log n over the counts n of each."""
    seen, clicks = (
        combination_counts.dense(key_N, rows, size)
        if size <= combination_counts.DENSE_KEYS
        else combination_counts.sparse(key_N, rows)[1:]
    )
    total, labels = seen.sum(), np.array([clicks.sum(), (seen - clicks).sum()])
    cells = _n_log_n(clicks) + _n_log_n(seen - clicks)
    return float((cells - _n_log_n(seen) - _n_log_n(labels) + _n_log_n(total)) / total)


def _n_log_n(count: NDArray) -> float:
    return float(xlogy(count, count).sum())
