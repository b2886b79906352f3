"""Where the rows of a training are: in memory, or streamed from their files pass by pass."""

from collections.abc import Sequence

import torch

from ctrloom import distributed
from ctrloom.config import Hyperparameters, Split
from ctrloom.data.batches.batch import Batch, BatchSource
from ctrloom.data.dataset import Dataset
from ctrloom.training.loop import pick_device
from ctrloom.training.memory import memory_of

SHARE = 0.5  # of the memory of the machine and of the device, that rows may take


class BatchSources:
    """Rows of some splits for one model after the other; what is held in memory is read once for all.

    Of several processes each has its part.
    """

    def __init__(self, dataset: Dataset, *splits: Split) -> None:
        self.dataset, self.splits = dataset, splits
        self._held: list[Batch] = []

    def of(self, hyper: Hyperparameters) -> Sequence[BatchSource]:
        """The rows of each split, as a model's `rows` has it.

        Raises:
            ValueError: rows are to be streamed to several processes.
        """
        if self.streams(hyper):
            return [self.dataset.stream(split) for split in self.splits]
        return self.held()

    def held(self) -> Sequence[Batch]:
        """The rows of each split in memory."""
        if not self._held:
            self._held = [
                self.dataset.rows(split, *distributed.rank_and_world_size()) for split in self.splits
            ]
        return self._held

    def streams(self, hyper: Hyperparameters) -> bool:
        """Whether the rows are streamed.

        Raises:
            ValueError: to several processes.
        """
        if hyper.rows != "auto":
            if hyper.rows == "stream" and not distributed.is_single_process():
                raise ValueError(
                    "rows: stream feeds one process; several hold a part of the rows each: leave it out"
                )
            return hyper.rows == "stream"
        needed = self.dataset.row_bytes() * sum(map(self.dataset.rows_in, self.splits))
        places = {torch.device("cpu"), pick_device(hyper.device)}
        return distributed.is_single_process() and needed > SHARE * min(map(memory_of, places))


def refuse_streaming(hyper: Hyperparameters, what: str) -> None:
    """Raise ValueError where rows are to be streamed to what needs all of them at hand."""
    if hyper.rows == "stream":
        raise ValueError(f"{what} all rows at once, not streamed ones; set rows: memory for it")
