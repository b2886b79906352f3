"""Input and result of a search."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from ctrloom.architecture import Architecture
from ctrloom.config.base import ConfigError
from ctrloom.data.batches.batch import Batch, BatchSource
from ctrloom.data.batches.stream import Stream
from ctrloom.schema import CrossKeys, Schema
from ctrloom.search_trace import SearchTrace


@dataclass(frozen=True)
class SearchData:
    """The data of a search: `train` for weights and gates; `valid` for early stopping and selection.

    With several processes, these are shards, and `read` reads both splits in full; of streamed rows, it reads
    as many as fit in memory.
    """

    train: BatchSource
    valid: BatchSource
    schema: Schema
    crosses: CrossKeys = field(default_factory=dict)  # of the pairs with cross features
    read: Callable[[], tuple[Batch, Batch]] | None = None

    def whole(self) -> "SearchData":
        """The data with all rows in memory, as far as they fit."""
        if self.read is None:
            return self
        train, valid = self.read()
        return replace(self, train=train, valid=valid, read=None)

    def every(self) -> tuple[BatchSource, BatchSource]:
        """All rows of both splits: read into each of several processes, or as streams."""
        if self.read is None or isinstance(self.train, Stream):
            return self.train, self.valid
        return self.read()


@dataclass(frozen=True)
class SearchResult:
    """The result of a search: the architecture, its trace, and control selections to compare with.

    `controls` are named architectures; if a name has several, all are trained, divided among the seeds.
    `trained` is the model of the architecture with the weights of the search, on the CPU: the control
    `without-retraining`, which is scored as it is.
    """

    architecture: Architecture
    trace: SearchTrace
    controls: Mapping[str, Sequence[Architecture]] = field(default_factory=dict)
    trained: nn.Module | None = None


def require_fields(schema: Schema, order: int) -> None:
    """Check that there are interactions of an order.

    Raises:
        ConfigError: there are fewer fields.
    """
    if (fields := len(schema.fields)) < order:
        raise ConfigError(f"search.order: needs at least {order} fields, but the data has {fields}")
