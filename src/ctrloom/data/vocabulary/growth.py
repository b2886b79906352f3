"""Growing vocabularies: encodes later rows so that existing ids keep their meaning."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom.config.base import ConfigError
from ctrloom.config.engine import EngineConfig
from ctrloom.config.growth import GrowthConfig
from ctrloom.data.engines import EMBEDDED, require
from ctrloom.data.ingest.cast import raw_fields
from ctrloom.data.manifest import IngestedManifest
from ctrloom.data.vocabulary.build import Fitted, buckets, fitted, frequent, with_vocabulary, write_encoded
from ctrloom.data.vocabulary.drift_baseline import DriftBaseline, FieldReference, binned
from ctrloom.data.vocabulary.encode import Encoder, Vocabulary
from ctrloom.data.vocabulary.field_counts import COUNTS_SCHEMA, field_counts
from ctrloom.data.vocabulary.multivalued import lists_in
from ctrloom.schema import CountedKeys, CrossKeys, Field, Schema
from ctrloom.storage import Place


def grow_vocabulary(
    ingested_manifest: str | Place,
    bundle: Path,
    config: GrowthConfig,
    store: Place,
    crosses: CrossKeys | None = None,
    engine: EngineConfig = EMBEDDED,
) -> Place:
    """Encode ingested rows with the extended vocabularies of a bundle; returns the manifest's path.

    Boundaries, field order and widths are those of the bundle. `crosses` are the keys that its model knows;
    they are kept, and new keys of the same pairs are added.

    Raises:
        ConfigError: the columns differ from those of the bundle, or `config.fields` has an unknown field.
        DataError: the bundle has no `reference.json`, or a vocabulary is corrupt.
    """
    ingested, base = IngestedManifest.load(ingested_manifest)
    old, before = Encoder.load(bundle), DriftBaseline.load(bundle)
    require_same_columns(old.schema, ingested, str(bundle))
    if rare := [field.name for field in old.schema.fields if field.rare]:
        raise ConfigError(
            f"{bundle}: crosses were counted by tokens (vocabulary.crosses.counted), so that rare values of "
            f"{rare[0]!r} have ids, which cannot grow; search and train from scratch, or count ids"
        )
    if unknown := sorted(set(config.fields) - set(old.schema.names)):
        raise ConfigError(f"growth.fields: {unknown[0]!r} is not a field of {bundle}")
    store = store.resolve()
    require(engine, store)
    encoder, reference = _grown(ingested, base, old, before, config, store, engine)
    moved = {pair: _moved(keys, old.schema, encoder.schema, pair) for pair, keys in (crosses or {}).items()}
    pairs = tuple((a, b) for a, b in moved)
    return write_encoded(ingested, base, encoder, reference, config.vocabulary(pairs), store, engine, moved)


def require_same_columns(schema: Schema, ingested: IngestedManifest, what: str) -> None:
    """Raise ConfigError with the first column that differs between rows and bundle, if any.

    Columns that no model reads may differ.
    """
    mine, theirs = (
        {name: column for name, column in source.columns.items() if column.kind not in ("context", "ignored")}
        for source in (schema.source, ingested.source)
    )
    if mine == theirs:
        return
    name = next(name for name in [*mine, *theirs] if mine.get(name) != theirs.get(name))
    raise ConfigError(
        f"data.columns: {name!r} is {_kind(theirs, name)}, but {what} has it {_kind(mine, name)}; "
        "use the columns of the bundle, or search and train from scratch"
    )


def _kind(columns: Mapping[str, object], name: str) -> str:
    return f"as {columns[name]}" if name in columns else "absent"


def _grown(
    ingested: IngestedManifest,
    base: Place,
    old: Encoder,
    before: DriftBaseline,
    config: GrowthConfig,
    store: Place,
    engine: EngineConfig,
) -> tuple[Encoder, DriftBaseline]:
    every, rows = field_counts(ingested, base), ingested.rows["train"]
    lists = lists_in(ingested.paths(base, "train"), raw_fields(ingested.source), engine, store)

    def grown(field: Field) -> Fitted:
        counts, own = every[field.name], lists.get(field.name)
        total = counts.total("train")
        missing = own.empty if own else rows - total
        if field.kind == "numeric":
            edges, bins = binned(counts, total, before.fields[field.name].edges)
            return Fitted(field, None, FieldReference(missing=missing, edges=edges, counts=bins))
        seen = counts.training()
        if field.bucketing is not None:
            seen = iter(buckets(counts, field.bucketing, field.boundaries).to_batches())
        vocabulary = _extended(seen, old.vocabularies[field.name], config.of(field.name))
        reference = FieldReference(missing=missing, unseen=total - vocabulary.total)
        return Fitted(with_vocabulary(field, vocabulary), vocabulary, reference)

    return fitted(ingested, grown, old.schema.fields)


def _extended(seen: Iterator[pa.RecordBatch], old: Vocabulary, min_count: int) -> Vocabulary:
    """The old tokens with new counts, followed by the new tokens that are frequent enough."""
    again, fresh = np.zeros(len(old), dtype=np.int64), [pa.table([[], []], schema=COUNTS_SCHEMA)]
    for some in _gathered(seen, len(old)):
        place = pc.index_in(some["value"], value_set=old.tokens).combine_chunks()
        known = place.is_valid()
        again[place.drop_null().to_numpy()] = some["count"].filter(known).to_numpy()
        enough = pc.greater_equal(some["count"], min_count).combine_chunks()
        fresh.append(some.filter(pc.and_not(enough, known)))
    new = frequent(pa.concat_tables(fresh))
    return Vocabulary(
        pa.concat_arrays([old.tokens, new.tokens]), pa.concat_arrays([pa.array(again), new.counts])
    )


def _gathered(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Combine batches to at least `rows` rows, so that a lookup among `rows` tokens pays off."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= rows:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _moved(keys: CountedKeys, old: Schema, new: Schema, pair: tuple[str, ...]) -> CountedKeys:
    """Recompute the keys of a pair for the sizes of the grown fields."""
    (second,) = old.indices(pair[1:])
    a, b = np.divmod(keys.key_K, old.fields[second].size)
    return CountedKeys(a * new.fields[second].size + b, keys.count_K)
