"""Statistics-AUC: how well the click rates of a combination of fields predict on their own.

N training rows, M validation rows, F fields.
"""

import numpy as np
from numpy.typing import NDArray

from ctrloom.methods.statistics import combination_counts
from ctrloom.methods.statistics.combination_counts import Ids, Labels
from ctrloom.metrics.measure import Floats, grouped_auc

PRIOR_ROWS = 10.0  # pseudo-count of the overall label rate


def statistics_auc(
    train_ids_NF: NDArray,
    train_label_N: NDArray,
    valid_ids_MF: NDArray,
    valid_label_M: NDArray,
    tuples: list[tuple[int, ...]],
    max_rows: int = 1_000_000,
    train_weight_N: NDArray | None = None,
    valid_weight_M: NDArray | None = None,
) -> Floats:
    """AUC on validation rows of the label rate of each combination of values in the training rows.

    Label rates are smoothed towards the overall rate, which is also that of unseen combinations. Row weights
    count as that many rows; at most `max_rows` random rows of each split are used. Ids may be local to a
    field or have offsets.

    Source: AutoFIS, section 4.5.1.

    Returns:
        One AUC per tuple of field indices.

    Raises:
        EvaluationError: only one label occurs in a split.
    """
    train_ids_NF, train = combination_counts.sample(train_ids_NF, train_label_N, train_weight_N, max_rows)
    valid_ids_MF, valid = combination_counts.sample(valid_ids_MF, valid_label_M, valid_weight_M, max_rows)
    train.require_both("training")
    valid.require_both("validation")
    used = sorted({field for names in tuples for field in names})
    codes = {
        f: combination_counts.numbered(np.concatenate([train_ids_NF[:, f], valid_ids_MF[:, f]])) for f in used
    }
    return np.array([_auc([codes[f] for f in fields], train, valid) for fields in tuples], np.float64)


def _auc(codes: list[tuple[Ids, int]], train: Labels, valid: Labels) -> float:
    key_A, size = combination_counts.combined(codes)
    train_key, valid_key = key_A[: len(train.label_N)], key_A[len(train.label_N) :]
    if size <= combination_counts.DENSE_KEYS:
        seen, clicks = combination_counts.dense(train_key, train, size)
        shown, hits = combination_counts.dense(valid_key, valid, size)
    else:
        keys, train_seen, train_clicks = combination_counts.sparse(train_key, train)
        wanted, shown, hits = combination_counts.sparse(valid_key, valid)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        known = keys[place] == wanted
        seen, clicks = train_seen[place] * known, train_clicks[place] * known
    score = (clicks + PRIOR_ROWS * train.rate) / (seen + PRIOR_ROWS)
    return grouped_auc(score, hits, shown - hits)
