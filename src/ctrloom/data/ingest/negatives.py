"""Negative downsampling: sampling rates, and the choice of rows."""

from collections.abc import Mapping, Sequence

import numpy as np

from ctrloom.config import SPLITS, DataConfig, Ignored, Label, SourceConfig, Split
from ctrloom.data.ingest.source_input import Input
from ctrloom.progress import progress


def shares_kept(config: DataConfig, inputs: Sequence[Input]) -> dict[Split, float]:
    """Sampling rate of the negative rows of each downsampled split.

    `balanced` reads the labels of all files first. A split that is taken from the training files has their
    rate.
    """
    if config.negatives is None:
        return {}
    splits, keep = config.negatives.splits, config.negatives.keep
    if keep != "balanced":
        return dict.fromkeys(splits, keep)
    given = {split: split if getattr(config.files, split) else SPLITS[0] for split in splits}
    needed = [each for each in inputs if each.record.split in given.values()]
    balance = _balances(config.source, needed)
    return {split: balance[files] for split, files in given.items()}


def _balances(source: SourceConfig, inputs: Sequence[Input]) -> dict[Split, float]:
    """Ratio of positive to negative rows in the files of each split, at most 1."""
    columns = {name: c if isinstance(c, Label) else Ignored() for name, c in source.columns.items()}
    labels = source.model_copy(update={"columns": columns})
    rows, positives = (dict.fromkeys(SPLITS, 0) for _ in range(2))
    with progress("count clicks", sum(each.record.bytes for each in inputs), "bytes") as advance:
        for each in inputs:
            for batch in each.rows(labels):
                rows[each.record.split] += len(batch.table)
                positives[each.record.split] += int(batch.table["label"].to_numpy().sum(dtype=np.int64))
                advance(batch.stored_bytes)
    return {s: min(1.0, positives[s] / max(rows[s] - positives[s], 1)) for s in SPLITS}


class Thinning:
    """Samples rows one by one, independently of the batch size."""

    def __init__(self, kept: Mapping[Split, float], seed: int) -> None:
        """`kept` is the sampling rate of negatives per split; the default is 1."""
        self.kept = np.array([kept.get(split, 1.0) for split in SPLITS])
        # A separate random stream, independent of the random split with the same seed.
        self.generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))

    def __call__(self, labels: np.ndarray, splits: np.ndarray) -> np.ndarray:
        """Mask of the next rows to keep; `splits` are indices into SPLITS."""
        return np.asarray((self.generator.random(len(labels)) < self.kept[splits]) | (labels == 1))
