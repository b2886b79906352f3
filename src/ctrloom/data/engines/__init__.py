"""Execution engines of Ibis expressions: DuckDB in this process, or Spark."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from ctrloom.config.engine import EngineConfig
from ctrloom.config.extras import training_packages
from ctrloom.data.engines.engine import Engine, Kept
from ctrloom.progress import Advance
from ctrloom.storage import Place

__all__ = ["EMBEDDED", "Engine", "Kept", "map_items", "opened", "require"]

EMBEDDED = EngineConfig()

Item = TypeVar("Item")
Done = TypeVar("Done")


@contextmanager
def opened(config: EngineConfig, folder: Place) -> Iterator[Engine]:
    """Open the configured engine for work on data in `folder`.

    Raises:
        ConfigError: DuckDB or Spark is not installed, or Spark does not start.
        DataError: Spark failed.
    """
    if config.engine == "duckdb":
        with training_packages():
            from ctrloom.data.engines.embedded import embedded

        with embedded(folder) as engine:
            yield engine
    else:
        with training_packages():
            from ctrloom.data.engines.spark import spark

        with spark(config.spark) as engine:
            yield engine


def require(config: EngineConfig, folder: Place) -> None:
    """Raise ConfigError if the engine is not available, before any rows are read."""
    if config.engine != "duckdb":
        with opened(config, folder):
            pass


def map_items(
    config: EngineConfig,
    work: Callable[[Sequence[Item], Advance], list[Done]],
    items: Sequence[Item],
    advance: Advance,
) -> list[Done]:
    """Results of `work` for the items, in order; on Spark each item is a task.

    Raises:
        ConfigError: Spark is not installed or does not start.
        DataError: Spark failed.
    """
    if config.engine == "duckdb":
        return work(items, advance)
    from ctrloom.data.engines.spark import spark

    with spark(config.spark) as engine:
        return engine.map_items(work, items, advance)
