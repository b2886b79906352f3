"""List lengths of multi-valued fields."""

from collections.abc import Iterable
from typing import NamedTuple

from ctrloom.config.engine import EngineConfig
from ctrloom.data.engines import opened
from ctrloom.data.ingest.cast import RawField
from ctrloom.storage import Place


class Lists(NamedTuple):
    """Number of empty lists of a field, and the length of its longest list."""

    empty: int
    longest: int


def lists_in(
    files: Iterable[Place], fields: Iterable[RawField], config: EngineConfig, folder: Place
) -> dict[str, Lists]:
    """List statistics of multi-valued fields in Parquet files; no engine is opened without such fields."""
    names = [field.name for field in fields if field.kind == "multivalued"]
    if not names:
        return {}
    with opened(config, folder) as engine:
        rows = engine.rows(files)
        sizes = [rows[name].length() for name in names]
        empty = {f"empty{i}": (size == 0).sum() for i, size in enumerate(sizes)}
        longest = {f"longest{i}": size.max() for i, size in enumerate(sizes)}
        (found,) = rows.agg(**empty, **longest).to_pyarrow().to_pylist()
    return {name: Lists(found[f"empty{i}"] or 0, found[f"longest{i}"] or 0) for i, name in enumerate(names)}
