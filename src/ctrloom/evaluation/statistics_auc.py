"""How well a combination of fields predicts by itself: clicks counted in training, scored on validation.

N training rows, M validation rows, F fields.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctrloom.evaluation.metrics import EvaluationError, Floats, grouped_auc

PRIOR_ROWS = 10.0  # weight of the overall label rate against the rows that show a combination
DENSE_KEYS = 1 << 21  # up to so many possible combinations a table is faster than sorting

Ids = NDArray[np.int64]


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
    """AUC on validation rows of the label rate that each combination of values has in training rows.

    Label rates are drawn towards the overall one; a combination not seen in training has the overall one.
    Row weights count as that many rows.
    Of either split at most `max_rows` random rows are used. Ids may be local to a field or have offsets.

    Source: AutoFIS, section 4.6 and Figure 3.

    Returns:
        One AUC per tuple of field positions.

    Raises:
        EvaluationError: a split that lacks a label.
    """
    train_ids_NF, train = _sample(train_ids_NF, train_label_N, train_weight_N, max_rows)
    valid_ids_MF, valid = _sample(valid_ids_MF, valid_label_M, valid_weight_M, max_rows)
    for split, rows in (("training", train), ("validation", valid)):
        if not 0 < rows.label_N.sum() < len(rows.label_N):
            raise EvaluationError(f"the {len(rows.label_N)} {split} rows must hold both labels, 0 and 1")
    used = sorted({field for names in tuples for field in names})
    codes = {f: _codes(train_ids_NF[:, f], valid_ids_MF[:, f]) for f in used}
    return np.array([_auc([codes[f] for f in fields], train, valid) for fields in tuples], np.float64)


@dataclass(frozen=True)
class _Rows:
    label_N: Ids
    weight_N: Floats | None

    @property
    def rate(self) -> float:
        """Label rate."""
        return float(np.average(self.label_N, weights=self.weight_N))


def _auc(codes: list[tuple[Ids, int]], train: _Rows, valid: _Rows) -> float:
    key_A, size = _combined(codes)
    train_key, valid_key = key_A[: len(train.label_N)], key_A[len(train.label_N) :]
    if size <= DENSE_KEYS:
        seen, clicks = _dense(train_key, train, size)
        shown, hits = _dense(valid_key, valid, size)
    else:
        keys, train_seen, train_clicks = _sparse(train_key, train)
        wanted, shown, hits = _sparse(valid_key, valid)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        known = keys[place] == wanted
        seen, clicks = train_seen[place] * known, train_clicks[place] * known
    score = (clicks + PRIOR_ROWS * train.rate) / (seen + PRIOR_ROWS)
    return grouped_auc(score, hits, shown - hits)


def _codes(train_N: NDArray, valid_M: NDArray) -> tuple[Ids, int]:
    """Values of training and then validation rows, numbered from 0, and how many numbers there are."""
    distinct, code_A = np.unique(np.concatenate([train_N, valid_M]), return_inverse=True)
    return code_A.astype(np.int64), len(distinct)


def _combined(codes: list[tuple[Ids, int]]) -> tuple[Ids, int]:
    """One number per combination of values, and a bound on them; renumbered before it outgrows int64."""
    key_A, size = codes[0]
    for code_A, values in codes[1:]:
        if size * values >= 1 << 62:
            distinct, key_A = np.unique(key_A, return_inverse=True)
            size = len(distinct)
        key_A, size = key_A * values + code_A, size * values
    return key_A, size


def _dense(key_N: Ids, rows: _Rows, size: int) -> tuple[Floats, Floats]:
    counts = np.bincount(key_N * 2 + rows.label_N, rows.weight_N, minlength=2 * size)
    both = counts.reshape(size, 2).astype(np.float64)
    return both.sum(1), both[:, 1]


def _sparse(key_N: Ids, rows: _Rows) -> tuple[Ids, Floats, Floats]:
    """Distinct keys, ascending, with their rows and clicks (or the weights of these)."""
    if rows.weight_N is not None:
        distinct, place_N = np.unique(key_N, return_inverse=True)
        return distinct, *_dense(place_N, rows, len(distinct))
    packed = np.sort(key_N * 2 + rows.label_N)  # the label rides along in the lowest bit: one sort, no places
    starts = np.flatnonzero(np.concatenate([[True], packed[1:] >> 1 != packed[:-1] >> 1]))
    seen = np.diff(np.append(starts, len(packed))).astype(np.float64)
    return packed[starts] >> 1, seen, np.add.reduceat(packed & 1, starts).astype(np.float64)


def _sample(ids_NF: NDArray, label_N: NDArray, weight_N: NDArray | None, rows: int) -> tuple[NDArray, _Rows]:
    weight_N = None if weight_N is None else weight_N.astype(np.float64)
    if len(label_N) <= rows:
        return ids_NF, _Rows(label_N.astype(np.int64), weight_N)
    chosen = np.sort(np.random.default_rng(0).choice(len(label_N), rows, replace=False, shuffle=False))
    weight_N = None if weight_N is None else weight_N[chosen]
    return ids_NF[chosen], _Rows(label_N[chosen].astype(np.int64), weight_N)
