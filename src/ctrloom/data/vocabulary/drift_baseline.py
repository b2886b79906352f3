"""The drift baseline: statistics of training rows that later rows are compared with."""

from collections.abc import Sequence

import numpy as np

from ctrloom import storage
from ctrloom.config.base import StrictModel
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.profile import quantiles
from ctrloom.data.vocabulary.field_counts import FieldCounts
from ctrloom.storage import Place

REFERENCE = "reference.json"
_DECILES = tuple(tenth / 10 for tenth in range(1, 10))


class FieldReference(StrictModel):
    """Statistics of one field that its vocabulary does not contain."""

    missing: int  # rows without a value
    unseen: int = 0  # values without an id of their own
    edges: tuple[float, ...] = ()  # of fields without buckets: bin edges; `counts` are the rows per bin
    counts: tuple[int, ...] = ()


class DriftBaseline(StrictModel):
    """`reference.json`: training rows and clicks, and the statistics of each field."""

    rows: int
    positives: int
    fields: dict[str, FieldReference]

    @classmethod
    def load(cls, directory: Place) -> "DriftBaseline":
        """Read it from a data set or a bundle.

        Raises:
            DataError: it is missing.
        """
        path = directory / REFERENCE
        if not storage.exists(path):
            raise DataError(
                f"{path}: no such file, so drift cannot be measured; the data set was encoded by an older "
                "ctrloom: remove it from the store and train again"
            )
        return storage.read_record(path, cls)


def binned(
    train: FieldCounts, total: int, edges: Sequence[float] | None
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Bin edges and rows per bin of a field without buckets; the default edges are deciles."""
    if edges is None:
        edges = np.unique(quantiles(train, "train", total, _DECILES)).tolist() if total else []
    counts = np.zeros(len(edges) + 1, dtype=np.int64)
    for values, numbers in train.chunks("train"):
        counts += np.bincount(np.searchsorted(edges, values, side="right"), numbers, len(counts)).astype(int)
    return tuple(edges), tuple(counts.tolist())
