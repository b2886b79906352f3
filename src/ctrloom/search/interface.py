"""What every search takes and what it gives back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ctrloom.architecture import Architecture
from ctrloom.data.batches.batch import Batch, BatchSource
from ctrloom.schema import CrossKeys, Schema
from ctrloom.search_trace import SearchTrace


@dataclass(frozen=True)
class Task:
    """The data of a search: weights and gates learn from `train`; `valid` is for stopping and choosing.

    Where several processes search, these are one's parts, and `read` reads both whole; of streamed rows it
    reads as many as memory can hold.
    """

    train: BatchSource
    valid: BatchSource
    schema: Schema
    crosses: CrossKeys = field(default_factory=dict)  # of the pairs that the data set has crosses for
    read: Callable[[], tuple[Batch, Batch]] | None = None

    def whole(self) -> "Task":
        """The same with all rows that can be held."""
        if self.read is None:
            return self
        train, valid = self.read()
        return replace(self, train=train, valid=valid, read=None)


@dataclass(frozen=True)
class Found:
    """What a search found, how it went, and the selections that it must beat.

    `controls` are named architectures; where one name has several, seed number i is trained on architecture
    i modulo their number.
    """

    architecture: Architecture
    trace: SearchTrace
    controls: Mapping[str, Sequence[Architecture]] = field(default_factory=dict)
