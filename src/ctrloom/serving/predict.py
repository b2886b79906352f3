"""Score raw rows with a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from ctrloom import memory, storage
from ctrloom.config.url_secrets import hidden
from ctrloom.data.ingest.cast import TypedBatch, read_rows
from ctrloom.data.sources.files import resolve
from ctrloom.data.sources.raw import Malformed
from ctrloom.data.vocabulary.drift_baseline import REFERENCE, DriftBaseline
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.models.bundle import Bundle, load_bundle
from ctrloom.progress import progress, warn
from ctrloom.serving.prediction_file import COLUMNS, require_format, writing
from ctrloom.serving.scoring import encoded_logits, probabilities
from ctrloom.serving.value_shares import ValueCounter, ValueShares
from ctrloom.training.loop import pick_device
from ctrloom.training.torch_state import restored_torch_state


@dataclass(frozen=True)
class Predicted:
    """`rows`: all rows written, of which `malformed` have no probability; `fields`: values of the others."""

    rows: int
    malformed: int
    fields: tuple[ValueShares, ...] = ()


@memory.explained(least=memory.LEAST)
@restored_torch_state()
def predict(bundle: Path, files: Sequence[str], output: Path) -> Predicted:
    """Write one row per input row, in input order, as Parquet or CSV by the name of `output`.

    `row` counts from 0 over all files; a malformed row has no probability, and a reason in `malformed`. The
    files have the layout of the training data; label and weight may be absent. Warns of fields with many more
    missing or unseen values than the training rows, and of malformed rows.

    Raises:
        ConfigError: the name of the output has no known ending.
        StorageError: the bundle is incomplete, or the output cannot be written or is one of the inputs.
        DataError: a file is missing, empty or has other columns.
    """
    require_format(output)
    found = resolve([hidden(file) for file in files])
    storage.require_apart(output, [bundle, *found])
    device = pick_device("auto")
    loaded, encoder = load_bundle(bundle, device), Encoder.load(bundle)
    counters = [ValueCounter(field) for field in loaded.schema.fields]
    rows, malformed, first = 0, 0, list[Malformed]()
    with storage.locked_output(output), writing(output) as write, progress("predict", None) as advance:
        for batch in read_rows(loaded.schema.source, found, with_label=False):
            for note in batch.notes:
                warn(f"{batch.file}: {note}")
            encoded = encoder.encode(batch.dictionary_rows)
            write(_scored(loaded, encoded, batch))
            for counter in counters:
                name = counter.field.name
                counter.add(batch.dictionary_rows.column(name), encoded.column(name))
            rows, malformed = rows + batch.rows, malformed + len(batch.malformed)
            first = first or batch.malformed[:1]
            advance(batch.rows)
    for row in first:
        warn(f"{malformed:,} of {rows:,} rows are malformed, the first in {row.described}")
    training = DriftBaseline.load(bundle) if storage.exists(bundle / REFERENCE) else None
    fields = tuple(
        counter.shares(encoder.vocabularies.get(counter.field.name), training) for counter in counters
    )
    for warning in chain.from_iterable(shares.warnings() for shares in fields):
        warn(warning)
    return Predicted(rows, malformed, fields)


def logits(bundle: Bundle, encoder: Encoder, table: pa.RecordBatch) -> np.ndarray:
    """Logit of a click for each typed row (N,), float64."""
    return encoded_logits(bundle, encoder.encode(table))


def _scored(bundle: Bundle, encoded: pa.RecordBatch, batch: TypedBatch) -> pa.Table:
    scored = {
        "row": batch.positions,
        "probability": probabilities(encoded_logits(bundle, encoded)),
        "malformed": pa.nulls(len(batch.positions), pa.string()),
    }
    rejected = {
        "row": np.array([row.position for row in batch.malformed], dtype=np.int64),
        "probability": pa.nulls(len(batch.malformed), pa.float32()),
        "malformed": pa.array(
            [f"{row.file}:{row.line}: {row.reason}" for row in batch.malformed], pa.string()
        ),
    }
    both = pa.concat_tables([pa.table(scored, schema=COLUMNS), pa.table(rejected, schema=COLUMNS)])
    return both.sort_by("row")
