"""The vocabulary stage: fits vocabularies and boundaries, encodes all splits, and counts crosses."""

import difflib
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ctrloom import storage
from ctrloom.config import SPLITS, Bucketing, Column, FieldVocabulary, Keep, Split, VocabularyConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.engine import EngineConfig
from ctrloom.config.version import code_version
from ctrloom.data.engines import EMBEDDED, map_items, require
from ctrloom.data.errors import too_many_values
from ctrloom.data.ingest.cast import RawField, raw_fields
from ctrloom.data.manifest import EncodedManifest, IngestedManifest, PartFile, fingerprint, write_section
from ctrloom.data.threads import map_in_threads
from ctrloom.data.vocabulary import bucketing
from ctrloom.data.vocabulary.crosses import build_crosses, crossed_pairs
from ctrloom.data.vocabulary.drift_baseline import REFERENCE, DriftBaseline, FieldReference, binned
from ctrloom.data.vocabulary.encode import Encoder, Vocabulary, encode_parts
from ctrloom.data.vocabulary.extremes import extreme_warnings
from ctrloom.data.vocabulary.field_counts import COUNTS_SCHEMA, FieldCounts, field_counts
from ctrloom.data.vocabulary.multivalued import Lists, lists_in
from ctrloom.data.vocabulary.stored_crosses import keys_digest
from ctrloom.data.vocabulary.token_warnings import list_warnings, spelling_warnings, unseen_warnings
from ctrloom.progress import progress, warn
from ctrloom.schema import FIRST_TOKEN_ID, MOST_IDS, CrossKeys, Field, Schema
from ctrloom.storage import Place

Item = TypeVar("Item")

LAYOUT = 4  # of the files written; part of the fingerprint


def build_vocabulary(
    ingested_manifest: str | Place,
    config: VocabularyConfig,
    store: str | Place,
    engine: EngineConfig = EMBEDDED,
) -> Place:
    """Fit ids and boundaries on the training split and encode all splits; returns the manifest's path.

    The directory `<store>/encoded-<fingerprint>` is written atomically; an existing one is reused.

    Raises:
        ConfigError: `config.fields` has an unknown field or settings that do not apply to the field, or the
            engine is not available.
        DataError: the files of the manifest are missing.
    """
    ingested, base = IngestedManifest.load(ingested_manifest)
    fields = raw_fields(ingested.source)
    _check(config, fields)
    store = storage.place(store).resolve()
    require(engine, store)
    encoder, reference = _fit(ingested, base, config, store, engine)
    return write_encoded(ingested, base, encoder, reference, config, store, engine)


def write_encoded(
    ingested: IngestedManifest,
    base: Place,
    encoder: Encoder,
    reference: DriftBaseline,
    config: VocabularyConfig,
    store: Place,
    engine: EngineConfig,
    known: CrossKeys | None = None,
) -> Place:
    """Encode all splits and count crosses, keeping the `known` ones; returns the path of the manifest."""
    made_from: dict[str, object] = {
        "layout": LAYOUT,
        "schema": encoder.schema.fingerprint,
        "ingested": ingested.data_fingerprint,
    }
    if config.crosses:  # counted on the rows encoded below, so identified by their inputs
        made_from["crosses"] = crossed_pairs(config.crosses, encoder.schema.fields)
        made_from["cross_min_count"] = config.crosses.min_count
        if known:
            made_from["known"] = [keys_digest(known[pair].key_K) for pair in known]
    digest = fingerprint(made_from)
    target = store / f"encoded-{digest[:16]}"
    if storage.exists(target / "manifest.json"):
        return target / "manifest.json"
    with storage.turn(target, warn):
        if storage.exists(target / "manifest.json"):
            return target / "manifest.json"
        with storage.new_directory(target, "*") as folder:
            files = _encode(ingested, base, encoder, folder, engine)
            crossed: list[PartFile] = []
            if config.crosses:
                train = [folder / part.path for part in files["train"]]
                crosses, crossed = build_crosses(
                    config.crosses, encoder.schema, train, folder, engine, known or {}
                )
                encoder.schema = encoder.schema.model_copy(update={"crosses": crosses})
            manifest = EncodedManifest(
                base=str(target),
                data_fingerprint=digest,
                code_version=code_version(),
                split=ingested.split,
                sources=ingested.sources,
                rows=ingested.rows,
                days=ingested.days,
                files=files,
                schema_fingerprint=encoder.schema.fingerprint,
                ingested_fingerprint=ingested.data_fingerprint,
                vocabulary=config,
                encoder=(*encoder.save(folder), write_section(folder, REFERENCE, reference), *crossed),
            )
            storage.write_record(folder / "manifest.json", manifest)
    return target / "manifest.json"


def _check(config: VocabularyConfig, fields: list[RawField]) -> None:
    kinds = {field.name: field.kind for field in fields}
    for name, special in config.fields.items():
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"the fields are {', '.join(kinds)}"
            raise ConfigError(f"vocabulary.fields: {name!r} is not a field; {hint}")
        for key, kind in (
            ("bucketing", "numeric"),
            ("max_values", "multivalued"),
            ("pooling", "multivalued"),
        ):
            if getattr(special, key) is not None and kinds[name] != kind:
                raise ConfigError(
                    f"vocabulary.fields.{name}: {key} applies to {kind} fields, but {name!r} is {kinds[name]}"
                )
        if special.bucketing is not None:
            bucketing.check(special.bucketing, name)
    bucketing.check(config.bucketing, "*")


class Fitted(NamedTuple):
    """A field, its vocabulary if it has one, its drift baseline, and warnings about its values."""

    field: Field
    vocabulary: Vocabulary | None
    reference: FieldReference
    warnings: tuple[str, ...] = ()


def _fit(
    ingested: IngestedManifest, base: Place, config: VocabularyConfig, store: Place, engine: EngineConfig
) -> tuple[Encoder, DriftBaseline]:
    raw, counts, rows = raw_fields(ingested.source), field_counts(ingested, base), ingested.rows["train"]
    lists = lists_in(ingested.paths(base, "train"), raw, engine, store)
    columns = ingested.source.columns
    return fitted(
        ingested,
        lambda f: _fit_field(counts[f.name], lists.get(f.name), rows, f, config, columns[f.column]),
        raw,
    )


def fitted(
    ingested: IngestedManifest, fit: Callable[[Item], Fitted], items: Sequence[Item]
) -> tuple[Encoder, DriftBaseline]:
    """Fit each field on ingested rows; returns the encoder and the drift baseline.

    Raises:
        DataError: the fields have too many values together.
    """
    fields: list[Field] = []
    vocabularies: dict[str, Vocabulary] = {}
    references: dict[str, FieldReference] = {}
    with progress("vocabulary", len(items), "fields") as advance:
        for field, vocabulary, reference, warnings in map_in_threads(fit, items):
            for warning in warnings:
                warn(warning)
            fields.append(field)
            references[field.name] = reference
            if vocabulary is not None:
                vocabularies[field.name] = vocabulary
            advance(1)
    if (total := sum(field.ids for field in fields)) > MOST_IDS + 1:
        raise too_many_values(total)
    negatives = ingested.negatives_kept.get("train", 1.0)
    schema = Schema(fields=tuple(fields), source=ingested.source, negatives_kept=negatives)
    rows, positives = ingested.rows["train"], ingested.positives["train"]
    return Encoder(schema, vocabularies), DriftBaseline(rows=rows, positives=positives, fields=references)


def _fit_field(
    counts: FieldCounts,
    lists: Lists | None,
    rows: int,
    raw: RawField,
    config: VocabularyConfig,
    column: Column,
) -> Fitted:
    total = counts.total("train")
    missing, least = lists.empty if lists else rows - total, config.least(raw.name)
    if raw.kind == "numeric":
        field, tokens = _fit_numeric(counts, total, raw, config)
        assert field.bucketing
        warnings = tuple(extreme_warnings(field.name, field.bucketing, field.boundaries, counts))
        if field.kind == "numeric":
            edges, bins = binned(counts, total, None)
            reference = FieldReference(missing=missing, edges=edges, counts=bins)
            return Fitted(field, None, reference, warnings)
        vocabulary, own = _known(tokens, least)
    else:
        field, tokens = _fit_tokens(counts, lists, raw, config)
        vocabulary, own = _known(tokens, least)
        warnings = (
            *spelling_warnings(field, own.tokens),
            *list_warnings(field, own.tokens, column, lists.longest if lists else None),
            *unseen_warnings(field, own.total / max(total, 1), *counts.held_out(least)),
        )
    reference = FieldReference(missing=missing, unseen=total - own.total)
    rare = len(vocabulary) - len(own)
    return Fitted(with_vocabulary(field, vocabulary, rare), vocabulary, reference, warnings)


def with_vocabulary(field: Field, vocabulary: Vocabulary, rare: int = 0) -> Field:
    """The field with the size and digest of its vocabulary, whose last tokens may be `rare`."""
    size = FIRST_TOKEN_ID + len(vocabulary) - rare
    return field.model_copy(update={"size": size, "rare": rare, "vocabulary_digest": vocabulary.digest})


def _known(tokens: pa.Table, least: int) -> tuple[Vocabulary, Vocabulary]:
    """Vocabulary of the tokens, and that of those with at least `least` rows, which come first."""
    every = frequent(tokens)
    return every, every.first(int(np.count_nonzero(every.counts.to_numpy() >= least)))


def _fit_tokens(
    counts: FieldCounts, lists: Lists | None, raw: RawField, config: VocabularyConfig
) -> tuple[Field, pa.Table]:
    """The field and the tokens that have an id, with counts."""
    special = config.fields.get(raw.name, FieldVocabulary())
    field = Field(name=raw.name, kind=raw.kind, size=FIRST_TOKEN_ID, column=raw.column, derived=raw.derived)
    if lists:
        width = max(1, min(special.max_values or config.max_values, lists.longest))
        pooling = special.pooling or config.pooling
        field = field.model_copy(update={"width": width, "pooling": pooling})
    least = config.least(raw.name) if lists else config.least_known(raw.name)
    return field, pa.Table.from_batches(counts.training(least), schema=COUNTS_SCHEMA)


def _fit_numeric(
    counts: FieldCounts, total: int, raw: RawField, config: VocabularyConfig
) -> tuple[Field, pa.Table]:
    """The field and the buckets that have an id, with counts (empty if the field is not bucketed)."""
    special = config.fields.get(raw.name, FieldVocabulary())
    method = special.bucketing or config.bucketing
    boundaries = bucketing.fit(method, counts.chunks("train"), total)
    kept = isinstance(method, Keep)
    field = Field(
        name=raw.name,
        kind="numeric" if kept else "categorical",
        size=FIRST_TOKEN_ID,
        column=raw.column,
        bucketing=method,
        boundaries=boundaries,
    )
    if kept:
        return field, pa.table([[], []], schema=COUNTS_SCHEMA)
    tokens = buckets(counts, method, boundaries)
    return field, tokens.filter(pc.greater_equal(tokens["count"], config.least_known(raw.name)))


def frequent(counts: pa.Table) -> Vocabulary:
    """Vocabulary of the tokens, the most frequent first."""
    ordered = counts.sort_by([("count", "descending"), ("value", "ascending")]).combine_chunks()
    return Vocabulary(
        *(
            pa.concat_arrays([pa.array([], t), *ordered[n].chunks])
            for n, t in zip(COUNTS_SCHEMA.names, COUNTS_SCHEMA.types, strict=True)
        )
    )


def buckets(counts: FieldCounts, method: Bucketing, boundaries: tuple[float, ...]) -> pa.Table:
    """Buckets of the counted numbers, with their counts."""
    per_code: dict[int, int] = {}
    for values, numbers in counts.chunks("train"):
        found, place = np.unique(bucketing.codes(method, boundaries, values), return_inverse=True)
        for code, number in zip(found, np.bincount(place, numbers), strict=True):
            per_code[int(code)] = per_code.get(int(code), 0) + int(number)
    labels = bucketing.bucket_labels(method, boundaries, per_code)
    return pa.table([labels, list(per_code.values())], schema=COUNTS_SCHEMA)


def _encode(
    ingested: IngestedManifest, base: Place, encoder: Encoder, folder: Place, engine: EngineConfig
) -> dict[Split, tuple[PartFile, ...]]:
    parts = [part for split in SPLITS for part in ingested.files[split]]
    with progress("encode", sum(ingested.rows.values())) as advance:
        encoded = iter(map_items(engine, partial(encode_parts, encoder, base, folder), parts, advance))
    return {split: tuple(next(encoded) for _ in ingested.files[split]) for split in SPLITS}
