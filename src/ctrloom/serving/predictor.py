"""A loaded bundle that scores rows in memory and files.

N rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from ctrloom.config.url_secrets import hidden
from ctrloom.data.batches.tensors import to_batch
from ctrloom.data.errors import DataError
from ctrloom.data.ingest.cast import TypedBatch, check_rules, read_rows, typed, typed_schema
from ctrloom.data.sources.files import resolve
from ctrloom.data.sources.memory import MEMORY, Rows, read_memory
from ctrloom.data.sources.raw import Malformed
from ctrloom.data.vocabulary.encode import Encoder
from ctrloom.models.bundle import Bundle, load_bundle
from ctrloom.schema import MISSING_ID, UNSEEN_ID
from ctrloom.serving.scoring import logits_of, probabilities


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
        return cls(**vars(bundle), encoder=Encoder.load(directory))

    def predict(self, rows: Rows) -> NDArray[np.float32]:
        """Probability of a click for each row (N,).

        Raises:
            DataError: the rows lack a column, or one of them is malformed.
        """
        scored = self.score(rows)
        _require_sound(scored)
        return scored.probability_N

    def score(self, rows: Rows) -> Scored:
        """Score rows of which some may be malformed.

        Raises:
            DataError: the rows are of an unknown type, or lack a column.
        """
        source = self.schema.source
        batch = typed(read_memory(rows, source), source, typed_schema(source, with_label=False))
        return self._scored([batch])

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
        probabilities_N, malformed = [np.empty(0, np.float32)], dict[int, str]()
        missing, unseen = (dict.fromkeys(self.schema.names, 0) for _ in range(2))
        for batch in batches:
            encoded = self.encoder.encode(batch.dictionary_rows)
            rows = to_batch(self.schema, encoded).widened()
            place_N = batch.positions - sum(map(len, probabilities_N))
            probability_N = np.full(batch.rows, np.nan, np.float32)
            probability_N[place_N] = probabilities(logits_of(self, rows.ids_NC, rows.factors_NC))
            probabilities_N.append(probability_N)
            malformed |= {row.position: _reason(row) for row in batch.malformed}
            self._count(rows.ids_NC.numpy(), missing, unseen)
        return Scored(np.concatenate(probabilities_N), malformed, missing, unseen)

    def _count(self, ids_NC: NDArray[np.int32], missing: dict[str, int], unseen: dict[str, int]) -> None:
        """Add the rows with a missing and with an unseen value of each field."""
        first = 0
        for field, offset in zip(self.schema.fields, self.schema.offsets, strict=True):
            own = ids_NC[:, first : first + field.width]
            missing[field.name] += int(np.count_nonzero(own[:, 0] == offset + MISSING_ID))
            if field.kind != "numeric":
                unseen[field.name] += int(np.count_nonzero((own == offset + UNSEEN_ID).any(1)))
            first += field.width


def _reason(row: Malformed) -> str:
    return row.reason if row.file == MEMORY else f"{row.file}:{row.line}: {row.reason}"


def _require_sound(scored: Scored) -> None:
    """Raise DataError for the first malformed row."""
    for row, reason in sorted(scored.malformed.items())[:1]:
        number = len(scored.malformed)
        others = f" ({number:,} rows are malformed; `score` returns the others)" if number > 1 else ""
        raise DataError(f"row {row}: {reason}{others}")
