"""A request for probabilities and its answer, whatever the protocol."""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ctrloom.serving.predictor import FEW, Predictor, Scored
from ctrloom.serving.server.errors import RequestError
from ctrloom.serving.server.models import ServedModel
from ctrloom.serving.server.tensors import Tensor, rows_of, shown

PROBABILITY, MALFORMED = "probability", "malformed"
LONGEST_ID = 200
Input = tuple[Tensor, Callable[[int], list[Any]]]  # and its values, given the number of rows


@dataclass(frozen=True)
class Question:
    """Raw rows to score, as columns of Python values, and the outputs that the answer has."""

    id: str
    columns: dict[str, list[Any]]
    outputs: tuple[str, ...]

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values())))

    def table(self) -> pa.RecordBatch:
        """The rows as Arrow columns."""
        arrays = [_array(values) for values in self.columns.values()]
        return pa.RecordBatch.from_arrays(arrays, list(self.columns))

    def scored(self, predictor: Predictor) -> Scored:
        """The scored rows."""
        return predictor.score(self.table()) if self.size > FEW else predictor.score_columns(self.columns)


@dataclass(frozen=True)
class Answer:
    """Probabilities of the rows of a question, and the version of the model that gave them."""

    question: Question
    version: str
    scored: Scored

    @property
    def probabilities(self) -> np.ndarray:
        """Float32; NaN for malformed rows."""
        return self.scored.probability_N

    @property
    def reasons(self) -> list[str]:
        """Why each row is malformed; empty text for the others."""
        return [self.scored.malformed.get(row, "") for row in range(len(self.probabilities))]


def columns_of(inputs: Iterable[Input], model: ServedModel, most: int) -> dict[str, list[Any]]:
    """The columns that the model reads, in its order; other inputs are ignored.

    Raises:
        RequestError: an input is invalid, missing or duplicate, or the numbers of rows differ.
        TooLargeError: more than `most` rows.
    """
    columns, first, rows = dict[str, list[Any]](), "", 0
    for tensor, values in inputs:
        if tensor.name not in model.columns:
            continue
        if tensor.name in columns:
            raise RequestError(f"input {tensor.name!r}: is given twice")
        count = rows_of(tensor, most)
        if not columns:
            first, rows = tensor.name, count
        elif count != rows:
            raise RequestError(f"input {tensor.name!r}: has {count:,} rows, but input {first!r} has {rows:,}")
        columns[tensor.name] = values(rows)
    if missing := [name for name in model.columns if name not in columns]:
        listed = ", ".join(map(repr, missing[:5])) + (f" and {len(missing) - 5} more" if missing[5:] else "")
        raise RequestError(f"has no input {listed}; a missing value is null in an input that is there")
    return {name: columns[name] for name in model.columns}


def outputs_of(names: Iterable[object]) -> tuple[str, ...]:
    """The outputs that a request names; the probability by default.

    Raises:
        RequestError: there is no such output.
    """
    found = list(names)
    for name in found:
        if name not in (PROBABILITY, MALFORMED):
            raise RequestError(f"outputs: must be {PROBABILITY!r} or {MALFORMED!r}, not {shown(name)}")
    return tuple(dict.fromkeys(map(str, found))) or (PROBABILITY,)


def answered(question: Question, model: ServedModel) -> Answer:
    """Score the rows of a question.

    Raises:
        RequestError: a row is malformed, and the request does not ask for the output `malformed`.
    """
    scored = question.scored(model.predictor)
    if scored.malformed and MALFORMED not in question.outputs:
        row = min(scored.malformed)
        more = f" ({len(scored.malformed):,} malformed rows)" if len(scored.malformed) > 1 else ""
        raise RequestError(
            f"row {row}: {scored.malformed[row]}{more}; request the output {MALFORMED!r} "
            "to get a reason per row and the probabilities of the others"
        )
    return Answer(question, model.version, scored)


def checked_id(given: Any) -> str:
    """The id of a request; a new one if it has none.

    Raises:
        RequestError: it is not text, or long.
    """
    if given is None or given == "":
        return uuid.uuid4().hex
    if type(given) is not str or len(given) > LONGEST_ID:
        raise RequestError(f"'id' must be text of up to {LONGEST_ID} characters, not {shown(given)}")
    return given


def _array(values: list[Any]) -> pa.Array:
    """Values of one type, or integers and floats."""
    try:
        array = pa.array(values)
    except (pa.ArrowException, OverflowError):  # integers that only a float holds next to the others
        array = pa.array([None if value is None else float(value) for value in values])
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array
