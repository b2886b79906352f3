"""Metrics of some models within each value of a column, and AUC within groups.

S seeds, N rows of a split, K codes of values.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ctrloom.config.base import StrictModel
from ctrloom.data.row_values import DAY, RowValues
from ctrloom.metrics.grouped import gauc
from ctrloom.metrics.logistic import expit
from ctrloom.metrics.measure import auc, has_both_labels, row_logloss, with_weight

REST = "(all others)"


class SegmentMetrics(StrictModel):
    """One model on the rows of one segment, means over seeds."""

    auc: float | None  # None: the segment has a single label
    logloss: float
    calibration_ratio: float | None  # predicted over observed clicks; None: no clicks


class Segment(StrictModel):
    """The test rows with one value of a column."""

    value: str
    rows: int
    click_rate: float
    models: dict[str, SegmentMetrics]


class SegmentTable(StrictModel):
    """The largest segments of one column, and the rest as one."""

    column: str
    values: int  # different values on the test rows
    segments: tuple[Segment, ...]


class Coverage(StrictModel):
    """Groups that have both labels, and so an AUC."""

    groups: int
    rows: int
    share: float  # of all rows of the split, by weight


class Grouping(StrictModel):
    """The groups within which GAUC is measured."""

    column: str
    covered: dict[Literal["valid", "test"], Coverage]


def segment_table(
    values: RowValues,
    label_N: NDArray,
    weight_N: NDArray | None,
    logits: Mapping[str, NDArray],
    most: int,
) -> SegmentTable:
    """Metrics per value of a column: the `most` largest, by rows, and the rest.

    `logits` are those of each model, (S, N). Days are in order of time.
    """
    counted = with_weight(weight_N)
    code_N, label_N = values.code_N[counted], label_N[counted].astype(np.float64)
    heavy_N = np.ones(len(label_N)) if weight_N is None else weight_N[counted].astype(np.float64)
    logits = {name: logit_SN[:, counted].astype(np.float64) for name, logit_SN in logits.items()}
    rows_K = np.bincount(code_N, minlength=len(values.text_K))
    largest = np.argsort(-rows_K, kind="stable")[: min(most, np.count_nonzero(rows_K))]
    named = [(str(values.text_K[int(code)]), code_N == code) for code in largest]
    if values.name == DAY:
        named.sort(key=lambda each: each[0])
    rest_N = ~np.isin(code_N, largest)
    if rest_N.any():
        named.append((REST, rest_N))

    def segment(value: str, here_N: NDArray[np.bool_]) -> Segment:
        own = label_N[here_N], heavy_N[here_N]
        return Segment(
            value=value,
            rows=int(here_N.sum()),
            click_rate=float(np.average(own[0], weights=own[1])),
            models={name: _metrics(logit_SN[:, here_N], *own) for name, logit_SN in logits.items()},
        )

    segments = tuple(segment(value, here_N) for value, here_N in named)
    return SegmentTable(column=values.name, values=int(np.count_nonzero(rows_K)), segments=segments)


def _metrics(logit_SN: NDArray, label_N: NDArray, weight_N: NDArray) -> SegmentMetrics:
    clicks = float(weight_N @ label_N)

    def mean(figure: Callable[[NDArray], float]) -> float:
        return float(np.mean([figure(logit_N) for logit_N in logit_SN]))

    both = has_both_labels(label_N, weight_N)
    return SegmentMetrics(
        auc=mean(lambda logit_N: auc(logit_N, label_N, weight_N)) if both else None,
        logloss=mean(lambda logit_N: float(np.average(row_logloss(logit_N, label_N), weights=weight_N))),
        calibration_ratio=mean(lambda logit_N: float(expit(logit_N) @ weight_N) / clicks) if clicks else None,
    )


def coverage(values: RowValues, label_N: NDArray, weight_N: NDArray | None) -> Coverage:
    """The groups of one split that have both labels."""
    single_N = values.single_K[values.code_N]
    found = gauc(np.zeros(len(label_N)), label_N, values.code_N, weight_N, single_N)
    return Coverage(groups=found.groups, rows=found.rows, share=found.share)


def grouped_aucs(
    logit_SN: NDArray, values: RowValues, label_N: NDArray, weight_N: NDArray | None
) -> list[float]:
    """GAUC of each seed; empty if no group has both labels."""
    single_N = values.single_K[values.code_N]
    found = [gauc(logit_N, label_N, values.code_N, weight_N, single_N).auc for logit_N in logit_SN]
    return [each for each in found if each is not None]
