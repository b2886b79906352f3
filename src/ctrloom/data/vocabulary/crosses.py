"""Vocabularies of crosses: the values of two fields that get ids, counted on encoded training rows.

If tokens are counted, values that are rare in their field have ids, too (see `schema.Field`), so that
counting ids counts tokens.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ctrloom.config import Crosses
from ctrloom.config.base import ConfigError
from ctrloom.config.combinations import combinations_of
from ctrloom.config.engine import EngineConfig
from ctrloom.data.engines import opened
from ctrloom.data.manifest import PartFile
from ctrloom.data.parquet.writer import GROUP_ROWS, in_groups, table_writer
from ctrloom.data.vocabulary.stored_crosses import FIRST_KEPT_ID, cross_file
from ctrloom.progress import progress
from ctrloom.schema import UNSEEN_ID, Cross, CrossKeys, Field, Schema
from ctrloom.storage import Place, Written

if TYPE_CHECKING:
    from ibis.expr.types import Table

_NONE: CrossKeys = {}
_COLUMNS = pa.schema([("key", pa.int64()), ("id", pa.int32()), ("count", pa.int64())])


def crossed_pairs(config: Crosses, fields: Sequence[Field]) -> tuple[tuple[str, str], ...]:
    """The pairs that get crosses, in schema order: the configured ones, or all pairs of categorical fields.

    Raises:
        ConfigError: a pair is duplicate, repeats a field, or has an unknown or non-categorical field.
    """
    place = {field.name: i for i, field in enumerate(fields)}
    categorical = [field.name for field in fields if field.kind == "categorical"]
    if config.pairs == "all":
        return tuple((a, b) for a, b in combinations_of(categorical, 2))
    chosen: list[tuple[str, str]] = []
    for pair in config.pairs:
        where = f"vocabulary.crosses.pairs: [{', '.join(pair)}]"
        for name in pair:
            if name not in place:
                raise ConfigError(f"{where}: {name!r} is not a field; the fields are {', '.join(place)}")
            if name not in categorical:
                kind = fields[place[name]].kind
                way_out = "bucket it (vocabulary.fields)" if kind == "numeric" else "leave it out"
                raise ConfigError(
                    f"{where}: {name!r} is {kind}, but crosses need categorical fields; {way_out}"
                )
        a, b = sorted(pair, key=place.__getitem__)
        if a == b or (a, b) in chosen:
            raise ConfigError(f"{where}: duplicate {'field' if a == b else 'pair'}")
        chosen.append((a, b))
    return tuple(sorted(chosen, key=lambda pair: (place[pair[0]], place[pair[1]])))


def build_crosses(
    config: Crosses,
    schema: Schema,
    train: Sequence[Place],
    folder: Place,
    engine: EngineConfig,
    known: CrossKeys = _NONE,
) -> tuple[tuple[Cross, ...], list[PartFile]]:
    """Count the pairs of `config` in encoded training rows and write `crosses/` to `folder`.

    A value is kept if it was seen at least `min_count` times and neither of its ids is the unseen id; values
    in `known` are always kept.
    """
    pairs = crossed_pairs(config, schema.fields)
    sizes = {field.name: field.ids for field in schema.fields}
    crosses, files = [], []
    with opened(engine, folder) as here, progress("crosses", len(pairs), "pairs") as advance:
        rows = here.rows(train)
        for pair in pairs:
            old = known[pair].key_K if pair in known else None
            with here.kept(_counts(rows, pair, sizes[pair[1]], config.min_count, old)) as counts:
                number, digest, written = _write(counts.batches(), folder / cross_file(pair))
            crosses.append(Cross(fields=pair, size=FIRST_KEPT_ID + number, digest=digest))
            files.append(PartFile.of(folder, written, number))
            advance(1)
    return tuple(crosses), files


def _counts(
    rows: "Table", pair: tuple[str, str], size: int, min_count: int, known: NDArray[np.int64] | None
) -> "Table":
    import ibis

    a, b = (rows[name] for name in pair)
    seen: Table = rows.filter((a != UNSEEN_ID) & (b != UNSEEN_ID))
    keyed = seen.select(key=a.cast("int64") * size + b)
    counts: Table = keyed.group_by("key").agg(count=keyed.count())
    common = counts.filter(ibis._["count"] >= min_count)
    if known is None:
        return common.order_by("key")
    old = ibis.memtable(pa.table({"key": known}))
    again = old.left_join(counts, "key").select(old.key, count=counts["count"].fill_null(0))
    return common.anti_join(old, "key").union(again).order_by("key")


def _write(batches: Iterable[pa.RecordBatch], path: Place) -> tuple[int, str, Written]:
    """Write the keys; returns their number, their digest and the file."""
    number, digest = 0, hashlib.sha256()
    with table_writer(path, _COLUMNS) as (writer, written):
        for batch in in_groups(batches, GROUP_ROWS):
            keys = batch.column("key").to_numpy()
            ids = np.arange(FIRST_KEPT_ID + number, FIRST_KEPT_ID + number + len(keys), dtype=np.int32)
            columns = [batch.column("key"), pa.array(ids), batch.column("count")]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_COLUMNS))
            digest.update(keys.astype("<i8").tobytes())
            number += len(keys)
    return number, digest.hexdigest(), written
