"""Vocabularies that grow: later rows encoded so that every id keeps its meaning."""

from collections.abc import Mapping
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
from ibis.expr.types import Table

from ctrloom.config.engine import EngineConfig
from ctrloom.config.growth import GrowthConfig
from ctrloom.data.encode import Encoder, Vocabulary
from ctrloom.data.engines import EMBEDDED, Engine, opened
from ctrloom.data.manifest import IngestedManifest
from ctrloom.data.parts import null_counts
from ctrloom.data.profile import value_counts
from ctrloom.data.reference import FieldReference, Reference, binned, totals
from ctrloom.data.vocabulary import buckets, fitted, frequent, with_vocabulary, write_encoded
from ctrloom.progress import progress
from ctrloom.schema import FIRST_TOKEN_ID, CountedKeys, CrossKeys, Field, Schema
from ctrloom.section import ConfigError
from ctrloom.storage import Place


def grow_vocabulary(
    ingested_manifest: str | Place,
    bundle: Path,
    config: GrowthConfig,
    store: Place,
    crosses: CrossKeys | None = None,
    engine: EngineConfig = EMBEDDED,
) -> Place:
    """Encode ingested rows with the vocabularies of a bundle, new values at their end; the manifest's path.

    Boundaries, the order of the fields and their widths are those of the bundle. `crosses` has the keys that
    its model knows; they stay, and new ones of the same pairs come to them.

    Raises:
        ConfigError: the rows have other columns than the bundle, or `config.fields` names no field.
        DataError: the bundle has no `reference.json`, or a vocabulary is damaged.
    """
    ingested, base = IngestedManifest.load(ingested_manifest)
    old, before = Encoder.load(bundle), Reference.load(bundle)
    require_same_columns(old.schema, ingested, str(bundle))
    if unknown := sorted(set(config.fields) - set(old.schema.names)):
        raise ConfigError(f"growth.fields: {unknown[0]!r} is no field of {bundle}")
    store = store.resolve()
    encoder, reference = _grown(ingested, base, old, before, config, store, engine)
    moved = {pair: _moved(keys, old.schema, encoder.schema, pair) for pair, keys in (crosses or {}).items()}
    pairs = tuple((a, b) for a, b in moved)
    return write_encoded(ingested, base, encoder, reference, config.vocabulary(pairs), store, engine, moved)


def require_same_columns(schema: Schema, ingested: IngestedManifest, what: str) -> None:
    """Raise ConfigError, naming the first column that differs, unless rows and bundle have the same ones."""
    mine, theirs = dict(schema.source.columns), dict(ingested.source.columns)
    if mine == theirs:
        return
    name = next(name for name in [*mine, *theirs] if mine.get(name) != theirs.get(name))
    raise ConfigError(
        f"data.columns: {name!r} is {_kind(theirs, name)}, but {what} has it {_kind(mine, name)}; "
        "give the columns that the bundle has, or search and train anew"
    )


def _kind(columns: Mapping[str, object], name: str) -> str:
    return f"as {columns[name]}" if name in columns else "absent"


def _grown(
    ingested: IngestedManifest,
    base: Place,
    old: Encoder,
    before: Reference,
    config: GrowthConfig,
    store: Place,
    engine: EngineConfig,
) -> tuple[Encoder, Reference]:
    fields: list[Field] = []
    vocabularies: dict[str, Vocabulary] = {}
    references: dict[str, FieldReference] = {}
    count = len(old.schema.fields)
    nulls = null_counts(ingested.paths(base, "train"))
    with opened(engine, store) as here, progress("vocabulary", count, "fields") as advance:
        train = here.rows(ingested.paths(base, "train"))
        for field in old.schema.fields:
            with here.kept(value_counts(train, field.name)) as counts:
                total, missing = totals(train, nulls, ingested.rows["train"], field.name)
                if field.kind == "numeric":
                    edges, bins = binned(counts, total, before.fields[field.name].edges)
                    references[field.name] = FieldReference(missing=missing, edges=edges, counts=bins)
                else:
                    seen = counts.table
                    if field.bucketing is not None:
                        seen = ibis.memtable(buckets(counts, field.bucketing, field.boundaries))
                    known = old.vocabularies[field.name]
                    vocabulary = vocabularies[field.name] = _extended(
                        here, seen, known, config.of(field.name)
                    )
                    unseen = total - vocabulary.total
                    references[field.name] = FieldReference(missing=missing, unseen=unseen)
                    field = with_vocabulary(field, vocabulary)
            fields.append(field)
            advance(1)
    return fitted(ingested, fields, vocabularies, references)


def _extended(engine: Engine, counts: Table, old: Vocabulary, min_count: int) -> Vocabulary:
    """The old tokens, counted anew, and after them the new ones that are frequent enough."""
    ids = np.arange(FIRST_TOKEN_ID, FIRST_TOKEN_ID + len(old))
    known = ibis.memtable(pa.table({"token": old.tokens, "id": ids}))
    seen = engine.backend.to_pyarrow(
        counts.inner_join(known, counts["value"] == known.token).select("id", counts["count"])
    )
    again = np.zeros(len(old), dtype=np.int64)
    again[seen["id"].to_numpy() - FIRST_TOKEN_ID] = seen["count"].to_numpy()
    fresh = counts.filter(counts["count"] >= min_count).anti_join(known, counts["value"] == known.token)
    new = frequent(engine.backend.to_pyarrow(fresh.select("value", "count")))
    return Vocabulary(
        pa.concat_arrays([old.tokens, new.tokens]), pa.concat_arrays([pa.array(again), new.counts])
    )


def _moved(keys: CountedKeys, old: Schema, new: Schema, pair: tuple[str, ...]) -> CountedKeys:
    """The same values of a pair, as the sizes of the grown fields make them keys."""
    (second,) = old.indices(pair[1:])
    a, b = np.divmod(keys.key_K, old.fields[second].size)
    return CountedKeys(a * new.fields[second].size + b, keys.count_K)
