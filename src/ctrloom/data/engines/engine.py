"""The engine interface on top of an Ibis backend."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from ctrloom.storage import Place

if TYPE_CHECKING:
    from ibis.expr.types import Table


@dataclass(frozen=True)
class Kept:
    """The materialised rows of an expression."""

    table: "Table"
    batches: Callable[[], Iterator[pa.RecordBatch]]  # on this machine, in the order of the expression


class Engine(Protocol):
    """An Ibis backend with its inputs and outputs."""

    backend: Any

    def rows(self, files: Iterable[Place]) -> "Table":
        """Parquet files as one table."""

    def kept(self, table: "Table") -> AbstractContextManager[Kept]:
        """Materialise the rows of an expression until the context ends."""
