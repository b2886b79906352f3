"""The ingest stage: from raw files to typed, clean Parquet files per split."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ctrloom import storage
from ctrloom.config import SPLITS, DataConfig, RandomSplit, Split, Timestamp
from ctrloom.config.engine import EngineConfig
from ctrloom.config.version import code_version
from ctrloom.data.arrow.dictionary import dictionary_encode_rows
from ctrloom.data.engines import EMBEDDED, opened, require
from ctrloom.data.errors import DataError
from ctrloom.data.ingest import splits
from ctrloom.data.ingest.cast import check_rules, typed_schema
from ctrloom.data.ingest.negatives import Thinning, shares_kept
from ctrloom.data.ingest.profile import profile
from ctrloom.data.ingest.quarantine import QUARANTINE, Quarantine, require_few
from ctrloom.data.ingest.source_files import gathered
from ctrloom.data.ingest.source_input import Input
from ctrloom.data.ingest.split_writer import Batches, Tally, WrittenSplits, write_splits
from ctrloom.data.ingest.timestamps import unit_warning
from ctrloom.data.manifest import IngestedManifest, fingerprint
from ctrloom.data.parquet.reader import PartReader
from ctrloom.data.parquet.writer import PartWriter
from ctrloom.progress import progress, warn
from ctrloom.storage import Place

LAYOUT = 5  # version of the written files; part of the fingerprint, so that an old layout is not reused


def ingest(config: DataConfig, store: str | Place, engine: EngineConfig = EMBEDDED) -> Place:
    """Clean, cast and split all rows; returns the path of the manifest.

    The directory `<store>/ingested-<fingerprint>` is written atomically; an existing one, made from the same
    files and settings, is reused.

    Raises:
        ConfigError: invalid label rules, names or split, or the engine is not available.
        DataError: files are missing, empty or lack a column; too many rows are malformed; a split is empty
            or has a single class, or no weight.
    """
    check_rules(config.source)
    splits.shares(config)
    store = storage.place(store).resolve()
    with gathered(config.files, config.source, storage.scratch(store)) as inputs:
        digest = _fingerprint(config, inputs)
        target = store / f"ingested-{digest[:16]}"
        if not storage.exists(manifest := target / "manifest.json"):
            require(engine, store)
            with storage.turn(target, warn):
                if not storage.exists(manifest):
                    with storage.new_directory(target, "*") as folder:
                        _write(config, inputs, digest, folder, target, engine)
                    return manifest
        _check_reused(config, manifest)
    return manifest


def _fingerprint(config: DataConfig, inputs: list[Input]) -> str:
    return fingerprint(
        {
            "layout": LAYOUT,
            "source": config.source.model_dump(mode="json"),
            "split": config.split.model_dump(mode="json"),
            "negatives": config.negatives and config.negatives.model_dump(mode="json"),
            "files": [(each.record.split, each.record.sha256) for each in inputs],
        }
    )


def _check_reused(config: DataConfig, manifest: Place) -> None:
    """Check what the fingerprint does not cover: the ingest that wrote it may have allowed more.

    Raises:
        DataError: too many rows were malformed.
    """
    made, base = IngestedManifest.load(manifest)
    read = sum(made.rows.values()) + made.dropped + made.thinned + made.quarantined
    require_few(made.quarantined, read, config.max_malformed, str(base / QUARANTINE))


def _write(
    config: DataConfig, inputs: list[Input], digest: str, folder: Place, target: Place, engine: EngineConfig
) -> None:
    tally, kept_at = Tally(), target.with_name(f"quarantine-{digest[:16]}.parquet")
    kept = shares_kept(config, inputs)
    thin = Thinning(kept, config.negatives.seed) if config.negatives else None
    with storage.scratch_directory("aside", storage.scratch(folder)) as aside:
        malformed = aside / QUARANTINE
        try:
            with Quarantine(malformed, config.max_malformed, str(kept_at)) as quarantine:
                clean = _clean(config, inputs, quarantine, tally)
                written = _write_splits(config, clean, folder, aside, tally, thin)
        except DataError:
            if malformed.is_file() and pq.read_metadata(malformed).num_rows:
                storage.put(malformed, kept_at)
            raise
        storage.put(malformed, folder / malformed.name)
    if quarantine.rows:
        warn(
            f"{quarantine.rows:,} of {tally.read:,} rows are malformed and left out, the first in "
            f"{quarantine.first[0].described}; all are in {target / QUARANTINE}"
        )
    _check_classes(config, tally)
    manifest = IngestedManifest(
        base=str(target),
        data_fingerprint=digest,
        code_version=code_version(),
        split=config.split,
        sources=tuple(each.record for each in inputs),
        rows=tally.rows,
        days=tally.days,
        files=written.files,
        counts=written.counts,
        source=config.source,
        positives=tally.positives,
        quarantined=quarantine.rows,
        dropped=tally.dropped,
        thinned=tally.thinned,
        negatives_kept=kept,
    )
    known = profile(manifest, folder, quarantine.faults, engine)
    for name in config.named("timestamp"):
        column, ends = config.columns[name], known["timestamp"]
        assert isinstance(column, Timestamp)
        if warning := unit_warning(column, ends["first"], ends["last"]):
            warn(f"{name}: {warning}")
    storage.write_json(folder / "profile.json", known)
    storage.write_record(folder / "manifest.json", manifest)


def _clean(config: DataConfig, inputs: list[Input], quarantine: Quarantine, tally: Tally) -> Batches:
    """Clean rows of all files, each with the split of its file."""
    total, done = sum(each.record.bytes for each in inputs), 0
    with progress("ingest", total, "bytes") as advance:
        for each in inputs:
            for batch in each.begun or each.rows(config.source):
                quarantine.add([replace(row, file=each.record.path) for row in batch.malformed])
                tally.read += batch.rows
                tally.dropped += batch.dropped
                done += batch.stored_bytes
                advance(batch.stored_bytes)
                for note in batch.notes:
                    warn(f"{each.record.path}: {note}")
                quarantine.check(tally.read, min(done / total, 0.999))
                yield each.record.split, batch.dictionary_rows
            each.require_unchanged()
    quarantine.check(tally.read, 1)


def _write_splits(
    config: DataConfig, clean: Batches, folder: Place, aside: Path, tally: Tally, thin: Thinning | None
) -> WrittenSplits:
    valid, test = splits.shares(config)
    if isinstance(config.split, RandomSplit):
        assign = splits.at_random(config.split, valid, test)
    elif not valid and not test:
        assign = splits.by_time(*[np.iinfo(np.int64).max] * 2)
    elif given := splits.instants(config):
        assign = splits.by_time(*given)
    else:
        # The cut points are known only after all rows are read, so rows are written twice.
        return _write_by_shares(config, clean, folder, aside, tally, thin, (valid, test))
    return write_splits(config, clean, assign, folder, aside, tally, thin)


def _write_by_shares(
    config: DataConfig,
    clean: Batches,
    folder: Place,
    aside: Path,
    tally: Tally,
    thin: Thinning | None,
    shares: tuple[float, float],
) -> WrittenSplits:
    schema = typed_schema(config.source)
    with ExitStack() as stack:
        writers = {s: stack.enter_context(PartWriter(aside, s, schema)) for s in SPLITS}
        for split, batch in clean:
            writers[split].write(batch)
    written: list[tuple[Split, Path]] = [(s, aside / p.path) for s in SPLITS for p in writers[s].parts]
    with opened(EMBEDDED, folder) as here:  # these files are local
        train = here.rows([path for split, path in written if split == "train"])
        assign = splits.by_time(*splits.cuts(train, *shares))
    tokens = [field.name for field in schema if pa.types.is_string(field.type)]
    reread = (
        (split, dictionary_encode_rows(batch))
        for split, path in written
        for batch in PartReader(path).rows(dictionaries=tokens)
    )
    return write_splits(config, reread, assign, folder, aside, tally, thin)


def _check_classes(config: DataConfig, tally: Tally) -> None:
    """Raise DataError for a split that is empty or has a single class, also by weight."""
    valid, test = splits.shares(config)
    wanted = {"train": True, "valid": valid or config.files.valid, "test": test or config.files.test}
    for split in SPLITS:
        rows, positives = tally.rows[split], tally.positives[split]
        if not wanted[split]:
            continue
        if not rows:
            left = f"of {tally.read:,} rows read, {tally.dropped:,} were dropped by the label's rule"
            raise DataError(f"the {split} split is empty ({left}); check `files`, `split` and the label")
        if positives in (0, rows):
            raise DataError(
                f"all {rows:,} rows of the {split} split have the label {int(positives > 0)}; "
                "check the label column and its `positive` rule, or how rows are split"
            )
        for column in config.named("weight"):
            tally.weights[split].check(split, column)
            for warning in tally.weights[split].warnings(split, column):
                warn(warning)
