"""Exports a bundle: the model file, the encoder as data, and a record of both."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ctrloom import memory, storage
from ctrloom.config.url_secrets import hidden
from ctrloom.config.version import code_version
from ctrloom.data.batches.batch import Batch, concatenated
from ctrloom.data.sources.files import resolve
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.metrics.logistic import expit
from ctrloom.metrics.measure import auc
from ctrloom.models.bundle import Bundle, load_bundle
from ctrloom.nn.compressed_tables import Tables
from ctrloom.serving.export.check import Written, write_checked
from ctrloom.serving.export.encoder_data import ENCODER, TOKENS, write_encoder
from ctrloom.serving.export.formats import FORMATS, MODEL_FILES, Format
from ctrloom.serving.export.program import BATCH, FACTORS, IDS, LOGIT, PROBABILITY
from ctrloom.serving.export.record import RECORD, ExportRecord, TablesCost, TensorSpec
from ctrloom.serving.export.rows import given_rows, random_rows
from ctrloom.training.torch_state import restored_torch_state


@memory.explained(least=memory.LEAST)
@restored_torch_state()
def export(
    bundle: Path, output: Path, format: Format, rows: Sequence[str] = (), tables: Tables | None = None
) -> ExportRecord:
    """Write a folder with the model in a format, its encoder as data, and export.json.

    The written model is run and compared with the bundle on random rows and on those of the raw files
    `rows`; nothing is left if it differs. With `tables`, embedding tables are compressed, the bundle with
    the same tables is what it is compared with, and `rows`, which then need labels, give the cost in AUC.

    Raises:
        ConfigError: the format needs a package that is not installed.
        StorageError: the bundle is incomplete, or the output cannot be written.
        DataError: a file of `rows` is missing or lacks a column.
        ParityError: a probability of the exported model differs by more than 1e-5.
    """
    FORMATS[format].require()
    found = resolve([hidden(file) for file in rows])
    storage.require_apart(output, [bundle, *found])
    storage.require_own(output, *OWN)
    loaded, encoder = load_bundle(bundle), Encoder.load(bundle)
    given = given_rows(encoder, found, labelled=tables is not None) if found else None
    random = random_rows(loaded.schema)
    with storage.locked_output(output), storage.atomic_directory(output, *OWN) as folder:
        checked = concatenated([random, given]) if given else random
        written = write_checked(loaded, format, tables, checked, folder, f"{bundle} as {format}")
        write_encoder(folder, encoder)
        record = _record(loaded, format, tables, written, given)
        storage.write_folder_record(folder / RECORD, record)
    return storage.read_record(output / RECORD, ExportRecord)


OWN = RECORD, ENCODER, TOKENS, *MODEL_FILES


def _record(
    bundle: Bundle, format: Format, tables: Tables | None, written: Written, given: Batch | None
) -> ExportRecord:
    card, shape = bundle.card, (BATCH, len(bundle.schema.field_of_column))
    inputs = [TensorSpec(name=IDS, dtype="int32", shape=shape)]
    if bundle.schema.has_factors:
        inputs.append(TensorSpec(name=FACTORS, dtype="float32", shape=shape))
    outputs = (TensorSpec(name=name, dtype="float32", shape=(BATCH,)) for name in (LOGIT, PROBABILITY))
    return ExportRecord(
        format=format,
        model_file=FORMATS[format].name,
        model=card.model,
        title=card.title,
        seed=card.seed,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        opset=written.opset,
        tables=tables,
        negatives_kept=bundle.schema.negatives_kept,
        data_fingerprint=card.data_fingerprint,
        schema_fingerprint=card.schema_fingerprint,
        architecture_fingerprint=card.architecture_fingerprint,
        code_version=code_version(),
        torch_version=torch.__version__,
        parity=written.parity.model_copy(update={"given": len(given) if given else 0}),
        tables_cost=_tables_cost(written, given) if tables and given else None,
    )


def _tables_cost(written: Written, given: Batch) -> TablesCost:
    before_N, after_N = written.bundle_N[-len(given) :], written.exported_N[-len(given) :]
    label_N = given.label_N.numpy()
    weight_N = None if given.weight_N is None else given.weight_N.numpy()
    return TablesCost(
        rows=len(given),
        auc=auc(before_N, label_N, weight_N),
        auc_exported=auc(after_N, label_N, weight_N),
        probability=float(np.abs(expit(before_N) - expit(after_N)).max()),
    )
