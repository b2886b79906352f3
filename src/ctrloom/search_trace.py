"""What a search did on its way: `search.json`, written by the search stage and read by the report."""

import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from ctrloom import storage
from ctrloom.architecture import CellGraph, Function, Operator
from ctrloom.config import ModelName
from ctrloom.config.base import StrictModel

CellName = Literal["interaction", "ensemble"]


MEASURES = {  # of the methods without gates
    "random": "random number",
    "statistics_auc": "statistics AUC",
    "mutual_information": "mutual information",
}


class Candidate(StrictModel):
    """One interaction that the search could keep, modelled by one function.

    The function "none" is OptInter's third choice, to leave a pair out.
    """

    fields: tuple[str, ...]  # in schema order
    function: Function | Literal["none"] = "inner"
    # At the end of the search, exactly 0 where GRDA dropped it; OptInter: a probability; selections: a score.
    gate: float
    kept: bool
    accumulator: float | None = None  # GRDA's value before the soft threshold: how near a dropped one was
    statistics_auc: float | None = None  # on validation rows (AutoFIS, section 4.6)
    mutual_information: float | None = None  # with the label, training rows, in nats (OptInter, Eq. 21)

    @property
    def order(self) -> int:
        """Number of fields."""
        return len(self.fields)


class OperatorStrength(StrictModel):
    """AutoPI: one operator that could stand between two nodes of a cell."""

    cell: CellName
    source: int
    target: int
    operator: Operator
    strength: float | None = None  # what it weighs in the mixture; none where graphs were tried at random
    kept: bool


class SampledGraph(StrictModel):
    """AutoPI-R's random graphs and a search's finalists: what one reached when trained from scratch."""

    cells: CellGraph
    valid_auc: float
    valid_logloss: float
    seconds: float


class EmbeddingGates(StrictModel):
    """AIM: the gates on the positions of one field's embedding, for one order and function."""

    field: str
    order: int
    function: Function
    gates: tuple[float, ...]


class SearchTrace(StrictModel):
    """Candidates with their gates, recorded along the way, and what the search cost.

    `path_gates[s][c]` is the gate of `candidates[c]` after `path_steps[s]` steps, None while its order was
    not under search. `path_threshold[s]` is the soft threshold then; it restarts where a new order begins.
    """

    version: Literal[1] = 1
    method: str
    base: ModelName
    orders: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    operators: tuple[OperatorStrength, ...] = ()
    samples: tuple[SampledGraph, ...] = ()
    embedding_gates: tuple[EmbeddingGates, ...] = ()
    path_steps: tuple[int, ...] = ()  # at most some sixty, ascending
    path_gates: tuple[tuple[float | None, ...], ...] = ()
    path_threshold: tuple[float, ...] = ()
    steps: int
    epochs: int
    seconds: float
    rows_per_second: float
    hyperparameters: dict[str, Any]
    planted: tuple[tuple[str, ...], ...] | None = None  # synthetic data: the interactions that are there

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not len(self.path_steps) == len(self.path_gates) == len(self.path_threshold):
            raise ValueError(
                "path_steps, path_gates and path_threshold must have one entry per recorded step"
            )
        if any(len(gates) != len(self.candidates) for gates in self.path_gates):
            raise ValueError("every row of path_gates must have one gate per candidate")
        if not all(math.isfinite(candidate.gate) for candidate in self.candidates):
            raise ValueError("a gate is not a finite number: the search diverged")
        if unknown := {c.order for c in self.candidates} - set(self.orders):
            raise ValueError(f"there are candidates of order {min(unknown)}, which was not searched")
        return self

    @property
    def measure(self) -> str:
        """What `gate` is of the candidates of this method."""
        return MEASURES.get(self.method, "gate")

    @property
    def selects(self) -> bool:
        """Whether candidates were scored one by one, without training anything."""
        return self.method in MEASURES

    def of_order(self, order: int) -> tuple[Candidate, ...]:
        """Candidates of one order, as they stand in the file."""
        return tuple(candidate for candidate in self.candidates if candidate.order == order)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read and validate `search.json`."""
        return cls.parse(storage.read_json(path), str(path))

    def save(self, path: str | Path) -> None:
        """Write `search.json`, whole or not at all."""
        storage.write_json(path, self.model_dump(mode="json"))
