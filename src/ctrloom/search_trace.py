"""The trace of a search: `search.json`, written by the search stage and read by the report."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from ctrloom import storage
from ctrloom.architecture import CellGraph, Function, Operator
from ctrloom.config import METHODS, MODELS, ModelName
from ctrloom.config.base import StrictModel

CellName = Literal["interaction", "ensemble"]


class Candidate(StrictModel):
    """One candidate interaction with one function.

    The function "none" is OptInter's third option, which drops the pair.
    """

    fields: tuple[str, ...]  # in schema order
    function: Function | Literal["none"] = "inner"
    # At the end of the search: a gate, exactly 0 if GRDA dropped it; OptInter: a probability; a statistic.
    score: float
    kept: bool
    accumulator: float | None = None  # GRDA's value before the soft threshold
    p_value: float | None = None  # of the residual test, not adjusted
    unconfirmed: bool = False  # the search kept it, but the residual test did not confirm it
    statistics_auc: float | None = None  # on validation rows (AutoFIS, section 4.5.1)
    mutual_information: float | None = None  # with the label, training rows, in nats (OptInter, Eq. 21)

    @property
    def order(self) -> int:
        """Number of fields."""
        return len(self.fields)


class OperatorStrength(StrictModel):
    """AutoPI: one candidate operator between two nodes of a cell."""

    cell: CellName
    source: int
    target: int
    operator: Operator
    strength: float | None = None  # mixture weight; None for random search
    kept: bool


class SampledGraph(StrictModel):
    """A random graph of AutoPI-R or a finalist of a search, with its metrics when trained from scratch."""

    cells: CellGraph
    valid_auc: float
    valid_logloss: float
    seconds: float


class EmbeddingGates(StrictModel):
    """AIM: gates on the embedding positions of one field, for one order and function."""

    field: str
    order: int
    function: Function
    gates: tuple[float, ...]
    # That are kept, also those of gate 0 that a confirmed interaction needs; older versions have None
    positions: int | None = None

    @property
    def kept(self) -> int:
        """Number of positions kept."""
        return sum(map(bool, self.gates)) if self.positions is None else self.positions


class StageSeconds(StrictModel):
    """What one stage of a search took."""

    name: str
    seconds: float


class SearchTrace(storage.FolderRecord):
    """Candidates, the path of their scores during the search, and its cost.

    `path_scores[s][c]` is the score of `candidates[c]` after `path_steps[s]` steps, or None while its order
    is not being searched. `path_threshold[s]` is the soft threshold at that step; it resets with each order.
    """

    version: Literal[2] = 2
    method: str
    base: ModelName
    orders: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    permuted: tuple[Candidate, ...] = ()  # copies with a permuted field, searched with the candidates
    operators: tuple[OperatorStrength, ...] = ()
    samples: tuple[SampledGraph, ...] = ()
    embedding_gates: tuple[EmbeddingGates, ...] = ()
    path_steps: tuple[int, ...] = ()  # ascending, about 60 at most
    path_scores: tuple[tuple[float | None, ...], ...] = ()
    path_threshold: tuple[float, ...] = ()
    steps: int = 0  # of training; 0 if the method trains nothing
    epochs: int = 0
    seconds: float  # of training, or of scoring if the method trains nothing
    rows_per_second: float
    stages: tuple[StageSeconds, ...] = ()  # also those after training; older versions did not record them
    hyperparameters: dict[str, Any]
    planted: tuple[tuple[str, ...], ...] | None = None  # synthetic data: the true interactions

    @model_validator(mode="before")
    @classmethod
    def _from_version_1(cls, raw: Any) -> Any:
        """Version 1 called every score a gate."""
        if not isinstance(raw, dict) or raw.get("version") != 1:
            return raw
        candidates = raw.get("candidates")
        if not isinstance(candidates, list) or not all(isinstance(each, dict) for each in candidates):
            return {**raw, "version": 2}  # which says what is wrong with them
        renamed = {**raw, "version": 2, "path_scores": raw.get("path_gates", ())}
        renamed.pop("path_gates", None)
        renamed["candidates"] = [
            {"score" if key == "gate" else key: value for key, value in candidate.items()}
            for candidate in candidates
        ]
        return renamed

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not len(self.path_steps) == len(self.path_scores) == len(self.path_threshold):
            raise ValueError(
                "path_steps, path_scores and path_threshold must have one entry per recorded step"
            )
        if any(len(gates) != len(self.candidates) for gates in self.path_scores):
            raise ValueError("every row of path_scores must have one score per candidate")
        if unknown := {c.order for c in self.candidates} - set(self.orders):
            raise ValueError(f"candidates have order {min(unknown)}, which is not in orders")
        return self

    def with_stage(self, name: str, seconds: float) -> Self:
        """The trace with what a further stage took."""
        return self.model_copy(update={"stages": (*self.stages, StageSeconds(name=name, seconds=seconds))})

    @property
    def title(self) -> str:
        """Display name of the method."""
        return METHODS[self.method].title

    @property
    def base_title(self) -> str:
        """Display name of the model that was searched."""
        return MODELS[self.base].title

    @property
    def measure(self) -> str:
        """What `score` is for the candidates of this method."""
        return METHODS[self.method].measure

    @property
    def found_nothing(self) -> bool:
        """Whether the search kept no interaction."""
        return not self.operators and not any(candidate.kept for candidate in self.candidates)

    @property
    def by_statistic(self) -> bool:
        """Whether candidates were scored individually, without training a model."""
        return not METHODS[self.method].trains

    def strength(self, candidate: Candidate) -> float:
        """By what candidates are ranked: a statistic as it is, everything else without its sign."""
        return candidate.score if self.by_statistic else abs(candidate.score)

    def of_order(self, order: int) -> tuple[Candidate, ...]:
        """Candidates of one order, in file order."""
        return tuple(candidate for candidate in self.candidates if candidate.order == order)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read and validate `search.json`."""
        return storage.read_record(path, cls)

    def save(self, path: str | Path) -> None:
        """Write `search.json` atomically."""
        storage.write_record(path, self)
