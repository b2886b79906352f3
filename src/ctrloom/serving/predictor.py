"""A loaded bundle that scores rows in memory and files.

N rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from ctrloom.config.url_secrets import hidden
from ctrloom.data.batches.tensors import to_batch
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import TypedBatch, check_rules, read_rows, typed, typed_schema
from ctrloom.data.sources.files import resolve
from ctrloom.data.sources.memory import MEMORY, Rows, as_mappings, is_table, read_memory
from ctrloom.data.sources.raw import Malformed
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.data.vocabulary.row_encoder import EncodedRows, RowEncoder
from ctrloom.models.bundle import Bundle, load_bundle
from ctrloom.serving.field_counter import FieldCounter
from ctrloom.serving.scoring import logits_of, probabilities

FEW = 1000  # rows


@dataclass(frozen=True)
class Scored:
    """Scored rows; `malformed` has the reason of each row without a probability.

    `missing` and `unseen` are the numbers of rows that have a missing or unseen value, for each field.
    """

    probability_N: NDArray[np.float32]  # NaN where malformed
    malformed: dict[int, str]
    missing: dict[str, int]
    unseen: dict[str, int]


@dataclass(frozen=True)
class Predictor(Bundle):
    """A model that scores raw rows; may be used by several threads."""

    encoder: Encoder

    @classmethod
    def load(cls, directory: Path, device: torch.device | None = None) -> Self:
        """Read a bundle.

        Raises:
            StorageError: a file is missing, additional or damaged.
            DataError: a vocabulary does not match the schema.
        """
        bundle = load_bundle(directory, device)
        check_rules(bundle.schema.source)
        predictor = cls(**vars(bundle), encoder=Encoder.load(directory))
        _ = predictor.row_encoder, predictor.counter
        return predictor

    @cached_property
    def row_encoder(self) -> RowEncoder:
        """The encoder for few rows."""
        return RowEncoder(self.encoder)

    @cached_property
    def counter(self) -> FieldCounter:
        """Counts missing and unseen values."""
        return FieldCounter(self.schema)

    def predict(self, rows: Rows) -> NDArray[np.float32]:
        """Probability of a click for each row (N,).

        Raises:
            DataError: the rows are of an unknown type, lack a column, or one of them is malformed.
        """
        if (few := self._few(rows)) is not None:
            return self._probabilities(few)
        scored = self.score(rows)
        _require_sound(scored)
        return scored.probability_N

    def score(self, rows: Rows) -> Scored:
        """Score rows of which some may be malformed.

        Raises:
            DataError: the rows are of an unknown type, or lack a column.
        """
        few = self._few(rows)
        return self._by_cast(rows) if few is None else self._scored_few(few)

    def score_columns(self, columns: Mapping[str, Sequence[Any]]) -> Scored:
        """As `score`, of a few rows, given as Python values of all columns that scoring needs."""
        few = self.row_encoder.encode_columns(columns)
        if few is not None:
            return self._scored_few(few)
        names = list(columns)
        return self._by_cast(
            [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        )

    def _by_cast(self, rows: Rows) -> Scored:
        source = self.schema.source
        batch = typed(read_memory(rows, source), source, typed_schema(source, with_label=False))
        return self._scored([batch])

    def _scored_few(self, rows: EncodedRows) -> Scored:
        return Scored(self._probabilities(rows), {}, *self.counter.counts(rows.ids_NC))

    def _few(self, rows: Rows) -> EncodedRows | None:
        """The rows encoded one by one, which is faster for a few mappings; None if that does not apply."""
        if is_table(rows):
            return None
        mappings = as_mappings(rows)
        return self.row_encoder.encode(mappings) if len(mappings) <= FEW else None

    def _probabilities(self, rows: EncodedRows) -> NDArray[np.float32]:
        factors_NC = None if rows.factors_NC is None else torch.from_numpy(rows.factors_NC)
        return probabilities(logits_of(self, torch.from_numpy(rows.ids_NC), factors_NC))

    def predict_files(self, files: Sequence[str]) -> NDArray[np.float32]:
        """Probability of a click for each row of files (N,), as the command `predict` writes them.

        `files` are paths, globs or URLs in the layout of the training data; label and weight may be absent.

        Raises:
            DataError: a file is missing, empty or has other columns, or a row is malformed.
        """
        scored = self.score_files(files)
        _require_sound(scored)
        return scored.probability_N

    def score_files(self, files: Sequence[str]) -> Scored:
        """Score the rows of files, of which some may be malformed; see `predict_files`.

        Raises:
            DataError: a file is missing, empty or has other columns.
        """
        found = resolve([hidden(file) for file in files])
        return self._scored(read_rows(self.schema.source, found, with_label=False))

    def _scored(self, batches: Iterable[TypedBatch]) -> Scored:
        probabilities_N, malformed, first = [np.empty(0, np.float32)], dict[int, str](), 0
        missing, unseen = (dict.fromkeys(self.schema.names, 0) for _ in range(2))
        for batch in batches:
            rows = self._encoded(batch)
            probability_N = np.full(batch.rows, np.nan, np.float32)
            probability_N[batch.positions - first] = self._probabilities(rows)
            probabilities_N.append(probability_N)
            first += batch.rows
            malformed |= {row.position: _reason(row) for row in batch.malformed}
            for total, found in zip((missing, unseen), self.counter.counts(rows.ids_NC), strict=True):
                for name, count in found.items():
                    total[name] += count
        return Scored(np.concatenate(probabilities_N), malformed, missing, unseen)

    def _encoded(self, batch: TypedBatch) -> EncodedRows:
        if len(batch.positions) <= FEW:
            return self.row_encoder.encode_typed(batch.dictionary_rows)
        rows = to_batch(self.schema, self.encoder.encode(batch.dictionary_rows)).widened()
        factors_NC = None if rows.factors_NC is None else rows.factors_NC.numpy()
        return EncodedRows(rows.ids_NC.numpy(), factors_NC)


def _reason(row: Malformed) -> str:
    return row.reason if row.file == MEMORY else f"{row.file}:{row.line}: {row.reason}"


def _require_sound(scored: Scored) -> None:
    """Raise DataError for the first malformed row."""
    for row, reason in sorted(scored.malformed.items())[:1]:
        number = len(scored.malformed)
        others = f" ({number:,} rows are malformed; `score` returns the others)" if number > 1 else ""
        raise DataError(f"row {row}: {reason}{others}")
