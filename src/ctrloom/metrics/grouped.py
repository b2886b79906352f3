"""AUC within groups of rows, such as the impressions of one user (GAUC).

N rows. Groups and labels of rows are integers; the default weight is 1.
Reference: Zhou et al., Deep interest network, KDD 2018, section 6.2.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ctrloom.metrics.measure import Floats


class GroupedAUC(NamedTuple):
    """Mean AUC of the groups that have both labels, weighted by their rows (or the rows' weights)."""

    auc: float | None  # None: no group has both labels
    groups: int  # with both labels
    rows: int  # in these groups
    share: float  # of all rows, by weight


def gauc(
    score_N: NDArray,
    label_N: NDArray,
    group_N: NDArray[np.int64],
    weight_N: NDArray | None = None,
    grouped_N: NDArray[np.bool_] | None = None,
) -> GroupedAUC:
    """GAUC of one set of scores; ties count half, and groups with a single label are left out.

    Rows that are not in `grouped_N` belong to no group; they only lower the share.
    """
    heavy_N = np.ones(len(label_N)) if weight_N is None else weight_N.astype(np.float64)
    chosen = heavy_N != 0 if grouped_N is None else grouped_N & (heavy_N != 0)
    if not chosen.any():
        return GroupedAUC(None, 0, 0, 0.0)
    clicks_N, misses_N = (heavy_N * label_N)[chosen], (heavy_N * (1 - label_N))[chosen]
    _, code_N, rows_G = np.unique(group_N[chosen], return_inverse=True, return_counts=True)
    clicks_G, misses_G = np.bincount(code_N, clicks_N), np.bincount(code_N, misses_N)
    ahead_G = _ahead(score_N[chosen].astype(np.float64), clicks_N, misses_N, code_N)
    both_G = (clicks_G > 0) & (misses_G > 0)
    if not both_G.any():
        return GroupedAUC(None, 0, 0, 0.0)
    auc_G = ahead_G[both_G] / (clicks_G[both_G] * misses_G[both_G])
    mass_G = (clicks_G + misses_G)[both_G]
    return GroupedAUC(
        auc=float(np.average(auc_G, weights=mass_G)),
        groups=int(both_G.sum()),
        rows=int(rows_G[both_G].sum()),
        share=float(mass_G.sum() / heavy_N.sum()),
    )


def _ahead(score_N: Floats, clicks_N: Floats, misses_N: Floats, code_N: NDArray[np.int64]) -> Floats:
    """Per group, the weight of the pairs of a click and a miss in which the click has the higher score."""
    order_N = np.lexsort((score_N, code_N))
    score_N, clicks_N, misses_N = score_N[order_N], clicks_N[order_N], misses_N[order_N]
    code_N = code_N[order_N]
    changes = (score_N[1:] != score_N[:-1]) | (code_N[1:] != code_N[:-1])
    starts = np.flatnonzero(np.concatenate([[True], changes]))  # of rows with equal group and score
    clicks, misses, code = (
        np.add.reduceat(clicks_N, starts),
        np.add.reduceat(misses_N, starts),
        code_N[starts],
    )
    below = np.cumsum(misses) - misses
    first = np.searchsorted(code, code)  # of the same group
    return np.bincount(code, clicks * (below - below[first] + 0.5 * misses)).astype(np.float64)
