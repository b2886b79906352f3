"""Score raw rows with a bundle."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from ctrloom import memory, storage
from ctrloom.config.url_secrets import hidden
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import TypedBatch, read_rows
from ctrloom.data.sources.files import resolve
from ctrloom.data.vocabulary.drift_baseline import REFERENCE, DriftBaseline
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.models.bundle import Bundle
from ctrloom.progress import Advance, note, progress, warn
from ctrloom.serving.prediction_file import COLUMNS, Output, require_free, writing
from ctrloom.serving.prediction_folder import (
    Counts,
    PredictionFile,
    PredictionFolder,
    named,
    state,
    without_marks,
)
from ctrloom.serving.predictor import Predictor
from ctrloom.serving.scoring import encoded_logits, probabilities
from ctrloom.serving.value_shares import ValueCounter, ValueShares
from ctrloom.storage import Place
from ctrloom.training.loop import pick_device
from ctrloom.training.torch_state import restored_torch_state


@dataclass(frozen=True)
class Predicted:
    """`rows`: all rows written, of which `malformed` have no probability; `fields`: values of the others.

    `files` are those of a folder, and empty for another output.
    """

    rows: int
    malformed: int
    fields: tuple[ValueShares, ...] = ()
    files: tuple[PredictionFile, ...] = ()


@memory.explained(least=memory.LEAST)
@restored_torch_state()
def predict(
    bundle: Path,
    files: Sequence[str],
    output: str | Place,
    keep: Sequence[str] = (),
    format: str | None = None,
) -> Predicted:
    """Write one row per input row, in input order: row, probability, malformed, and the columns `keep`.

    `output` is a file (.parquet, .csv, .csv.gz), `-` for CSV on standard output, or, if it ends with a slash,
    a folder for one file per input in a `format` (parquet, csv, csv.gz). File and folder may be gs:// or
    s3://. A file of a folder that was written for the same input, bundle and columns is skipped.

    `row` counts from 0 over all files, and in a folder over those of one input. A malformed row has no
    probability, and a reason in `malformed`. `keep` are columns of the files, known to the model or not, with
    the values that are there; null in a row that cannot be split. The files have the layout of the training
    data; label and weight may be absent. Warns of fields with many more missing or unseen values than the
    training rows, and of malformed rows.

    Raises:
        ConfigError: the name of the output has no known ending, or a column to keep that of another one.
        StorageError: the bundle is incomplete, or the output cannot be written or is one of the inputs.
        DataError: a file is missing, empty or has other columns, or lacks one to keep.
    """
    to, patterns = Output.parse(output, format), [hidden(file) for file in files]
    require_free(keep)
    names = named(patterns, to.format) if to.is_folder else {}
    found = list(names) or resolve([without_marks(pattern) for pattern in patterns])
    if to.at is not None:
        storage.require_apart(to.at, [bundle, *found])
    scorer = _Scorer(bundle, keep)
    with _locked(to), progress("predict", None) as advance:
        if to.is_folder:
            assert to.at is not None, "only standard output has no place"
            return scorer.summary(
                *scorer.score_each(names, PredictionFolder(to.at, bundle, keep), to, advance)
            )
        return scorer.summary([scorer.score(found, to, advance)])


class _Scorer:
    """Scores files with one bundle."""

    def __init__(self, folder: Path, keep: Sequence[str]) -> None:
        self.folder, self.keep, self.noted = folder, tuple(keep), set[str]()
        self.bundle = Predictor.load(folder, pick_device("auto"))

    def score(self, files: Sequence[str], to: Output, advance: Advance) -> Counts:
        """Write the scores of all rows of some files to one output."""
        counters = [ValueCounter(field) for field in self.bundle.schema.fields]
        rows, malformed, first = 0, 0, None
        typed = read_rows(self.bundle.schema.source, files, with_label=False, keep=self.keep)
        schema, batches = self._schema(typed)
        with writing(to.at, to.format, schema) as write:
            for batch in batches:
                self._say(batch)
                encoded = self.bundle.encoder.encode(batch.dictionary_rows)
                write(_passed(_scored(self.bundle, encoded, batch), batch, schema))
                for counter in counters:
                    name = counter.field.name
                    counter.add(batch.dictionary_rows.column(name), encoded.column(name))
                rows, malformed = rows + batch.rows, malformed + len(batch.malformed)
                first = first or next((row.described for row in batch.malformed), None)
                advance(batch.rows)
        fields = {counter.field.name: counter.counts for counter in counters}
        return Counts(rows=rows, malformed=malformed, first_malformed=first, fields=fields)

    def score_each(
        self, names: Mapping[str, str], folder: PredictionFolder, to: Output, advance: Advance
    ) -> tuple[list[Counts], list[PredictionFile]]:
        """Write the scores of each file to its own output, unless they are there."""
        counted, files = [], []
        for number, (file, name) in enumerate(names.items(), start=1):
            found = folder.finished(name, file)
            if found is None:
                advance(0, f"file {number:,} of {len(names):,}")
                folder.clean(name)
                before = state(file)  # if it changes meanwhile, the next run scores it again
                counts = self.score([file], Output(folder.at / name, to.format), advance)
                folder.record(name, file, before, counts)
            else:
                counts = found
            counted.append(counts)
            files.append(
                PredictionFile(file, str(folder.at / name), counts.rows, counts.malformed, found is not None)
            )
        if skipped := sum(file.skipped for file in files):
            note(f"{folder.at}: {skipped:,} of {len(files):,} files were scored before, and are skipped")
        return counted, files

    def summary(self, counted: Sequence[Counts], files: Sequence[PredictionFile] = ()) -> Predicted:
        """What was found in all rows; warns of what is wrong with them."""
        rows, malformed = sum(each.rows for each in counted), sum(each.malformed for each in counted)
        if malformed:
            first = next(each.first_malformed for each in counted if each.malformed)
            warn(f"{malformed:,} of {rows:,} rows are malformed, the first in {first}")
        training = DriftBaseline.load(self.folder) if storage.exists(self.folder / REFERENCE) else None
        fields = []
        for field in self.bundle.schema.fields:
            counter = ValueCounter(field)
            for each in counted:
                counter.merge(each.fields[field.name])
            fields.append(counter.shares(self.bundle.encoder.vocabularies.get(field.name), training))
        for warning in chain.from_iterable(shares.warnings() for shares in fields):
            warn(warning)
        return Predicted(rows, malformed, tuple(fields), tuple(files))

    def _schema(self, batches: Iterator[TypedBatch]) -> tuple[pa.Schema, Iterator[TypedBatch]]:
        """The columns of the output, whose types those of the first batch decide, and all batches."""
        first = list(islice(batches, 1))
        kept = [batch.kept.schema for batch in first if batch.kept is not None]
        types = kept[0].types if kept else [pa.string()] * len(self.keep)
        return pa.schema([*COLUMNS, *zip(self.keep, types, strict=True)]), chain(first, batches)

    def _say(self, batch: TypedBatch) -> None:
        for line in batch.notes:
            if line not in self.noted:
                warn(f"{batch.file}: {line}")
                self.noted.add(line)


def _locked(to: Output) -> AbstractContextManager[None]:
    if not isinstance(to.at, Path):
        return nullcontext()
    return storage.locked(to.at) if to.is_folder else storage.locked_output(to.at)


def logits(bundle: Bundle, encoder: Encoder, table: pa.RecordBatch) -> np.ndarray:
    """Logit of a click for each typed row (N,), float64."""
    return encoded_logits(bundle, encoder.encode(table))


def _scored(bundle: Bundle, encoded: pa.RecordBatch, batch: TypedBatch) -> pa.Table:
    """All rows of a batch in order, without the columns to keep."""
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


def _passed(scored: pa.Table, batch: TypedBatch, schema: pa.Schema) -> pa.Table:
    """Scored rows with the columns to keep."""
    for field in list(schema)[len(COLUMNS) :]:
        assert batch.kept is not None, "it has the columns that the reader was told to keep"
        column = batch.kept.column(field.name)
        try:
            scored = scored.append_column(field, column.cast(field.type))
        except pa.ArrowException:
            raise DataError(
                f"{batch.file}: column {field.name!r} to keep is {column.type}, and {field.type} in the rows "
                "before; write it with one type, or one file per input (--output FOLDER/)"
            ) from None
    return scored
