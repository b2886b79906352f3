"""Thinning out negative rows: how many of them stay, and which."""

from collections.abc import Mapping, Sequence

import numpy as np

from ctrloom.config import SPLITS, DataConfig, Ignored, Label, SourceConfig, Split
from ctrloom.data.ingest.source_files import Input
from ctrloom.progress import progress


def shares_kept(config: DataConfig, inputs: Sequence[Input]) -> dict[Split, float]:
    """Share of the negative rows that stays in each split that is thinned out.

    `balanced` reads the labels of all files first. A split that is carved out of the training files has their
    share.
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
    """Positive rows per negative one in the files of each split, 1 at most."""
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
    """Says row by row which ones stay; the same ones whatever the batches."""

    def __init__(self, kept: Mapping[Split, float], seed: int) -> None:
        """`kept` is the share of the negative rows that stays; splits that it does not name keep all."""
        self.kept = np.array([kept.get(split, 1.0) for split in SPLITS])
        # A stream of its own: the numbers that split rows at random under the same seed must not decide here.
        self.generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))

    def __call__(self, labels: np.ndarray, splits: np.ndarray) -> np.ndarray:
        """Which of the next rows stay, as booleans; `splits` has their places in SPLITS."""
        return np.asarray((self.generator.random(len(labels)) < self.kept[splits]) | (labels == 1))
