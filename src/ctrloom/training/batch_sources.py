"""Batch sources of a training run: rows held in memory, or streamed from files on each pass."""

from collections.abc import Sequence

import torch

from ctrloom import distributed, memory
from ctrloom.config import Hyperparameters, Split
from ctrloom.config.base import ConfigError, MachineError
from ctrloom.data.batches.batch import Batch, BatchSource
from ctrloom.data.dataset import Dataset
from ctrloom.training.loop import pick_device
from ctrloom.training.memory import memory_of

SHARE = 0.5  # of host and device memory that rows may use


class BatchSources:
    """Batch sources of some splits for several models; rows held in memory are read once and reused.

    With several processes, each reads its own shard.
    """

    def __init__(self, dataset: Dataset, *splits: Split) -> None:
        self.dataset, self.splits = dataset, splits
        self._held: list[Batch] = []

    def of(self, settings: Hyperparameters) -> Sequence[BatchSource]:
        """One source per split, in memory or streamed as the model's `rows` setting requires.

        Raises:
            MachineError: streaming was requested with several processes.
        """
        if self.streams(settings):
            return [self.dataset.stream(split) for split in self.splits]
        return self.held()

    def held(self) -> Sequence[Batch]:
        """The rows of each split in memory."""
        if not self._held:
            ranks = distributed.rank_and_world_size()[1]
            memory.require(
                self.dataset.row_bytes() * sum(map(self.dataset.rows_in, self.splits)) // ranks,
                "the encoded rows",
                "set rows: stream, which reads them from disk",
            )
            self._held = [
                self.dataset.rows(split, *distributed.rank_and_world_size()) for split in self.splits
            ]
        return self._held

    def streams(self, settings: Hyperparameters) -> bool:
        """Whether rows are streamed; `rows: auto` streams them if they would not fit in memory.

        Raises:
            MachineError: streaming was requested with several processes.
        """
        if settings.rows != "auto":
            if settings.rows == "stream" and not distributed.is_single_process():
                raise MachineError(
                    "rows: stream supports one process only; with several, each holds a shard of the rows: "
                    "remove the setting"
                )
            return settings.rows == "stream"
        needed = self.dataset.row_bytes() * sum(map(self.dataset.rows_in, self.splits))
        places = {torch.device("cpu"), pick_device(settings.device)}
        return distributed.is_single_process() and needed > SHARE * min(map(memory_of, places))


def require_rows_in_memory(settings: Hyperparameters, what: str) -> None:
    """Raise ConfigError if streaming was requested for something that needs all rows at once."""
    if settings.rows == "stream":
        raise ConfigError(f"{what} needs all rows at once and cannot stream them; set rows: memory")
