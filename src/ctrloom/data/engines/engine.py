"""What an engine does beside running Ibis expressions."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
from ibis.expr.types import Table

from ctrloom.storage import Place


@dataclass(frozen=True)
class Kept:
    """The rows of an expression, worked out once."""

    table: Table
    batches: Callable[[], Iterator[pa.RecordBatch]]  # on this machine, in the order of the expression


class Engine(Protocol):
    """An Ibis backend, and what expressions on it start and end with."""

    backend: Any

    def rows(self, files: Iterable[Place]) -> Table:
        """Parquet files as one table."""

    def kept(self, table: Table) -> AbstractContextManager[Kept]:
        """Work the rows of an expression out, and keep them until the context ends."""
