"""The record of an evaluation, `metrics.json`: every number with its split, rows, seed and data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ctrloom import storage
from ctrloom.config import EvaluationConfig, Split
from ctrloom.config.base import StrictModel
from ctrloom.evaluation.importance import Importance
from ctrloom.evaluation.search_analysis import SearchAnalysis
from ctrloom.evaluation.segments import Grouping, SegmentTable
from ctrloom.evaluation.significance import Comparison
from ctrloom.evaluation.stability import Stability
from ctrloom.metrics.measure import Confusion, Curve, Metrics
from ctrloom.models.size import ModelSize
from ctrloom.training.history import Epoch, Kind
from ctrloom.tuning.record import TuningSummary

AttentionMap = tuple[tuple[float, ...], ...]  # row: field; column: field that it attends to; rows sum to 1


class FieldSummary(StrictModel):
    """One field, for the report."""

    name: str
    kind: str
    size: int  # number of ids


class DataSummary(StrictModel):
    """The data that everything was trained and evaluated on."""

    name: str
    data_fingerprint: str
    schema_fingerprint: str
    rows: dict[Split, int]  # that have a weight
    clicks: dict[Split, int] = Field(default_factory=dict)  # not weighted; older versions did not count them
    label_rate: dict[Split, float]
    fields: tuple[FieldSummary, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of ids of each field."""
        return {field.name: field.size for field in self.fields}


class SeedMetrics(StrictModel):
    """Metrics of one training."""

    seed: int
    draw: int | None = None  # number of the random selection, if there are several
    valid: Metrics
    test: Metrics


class Spread(StrictModel):
    """A metric over seeds; one seed has no standard deviation."""

    mean: float
    sd: float | None


class AttentionRow(StrictModel):
    """Attention in one row: the values of its fields, and the predicted probability."""

    values: tuple[str, ...]
    probability: float
    layers: tuple[AttentionMap, ...]


class Attention(StrictModel):
    """Attention between fields, per layer: mean over heads and validation rows, model of the first seed."""

    fields: tuple[str, ...]
    rows: int
    layers: tuple[AttentionMap, ...]
    example: AttentionRow  # the validation row of highest probability


class ModelResult(StrictModel):
    """Everything known of one model."""

    name: str
    title: str
    kind: Kind
    kept: dict[int, float]  # interactions per order, mean over the architectures behind the seeds
    candidates: dict[int, int]  # number of interactions of that order
    parameters: int  # that can change a logit, mean over seeds
    hyperparameters: dict[str, Any]
    seeds: tuple[SeedMetrics, ...]
    summary: dict[Literal["valid", "test"], dict[str, Spread]]
    train_rows_per_second: float
    inference_rows_per_second: float
    train_seconds: float
    search_seconds: float = 0.0
    curves: tuple[tuple[Epoch, ...], ...]
    roc: Curve  # test rows, first seed
    confusion: Confusion | None = None  # likewise; its threshold is the label rate of the validation rows
    limited_by: str | None = None  # setting that ended a training while it was improving: models.fm.epochs
    attention: Attention | None = None
    deterministic: bool = False  # trained once, as every seed gives the same model
    gauc: dict[Literal["valid", "test"], Spread] = Field(default_factory=dict)  # with `evaluation.group`
    size: ModelSize | None = None  # of the first seed
    importance: Importance | None = None  # of the model that the search found
    note: str | None = None  # what the title does not say of it, such as what a transfer leaves out
    relative_auc: float | None = (
        None  # test AUC / test AUC of the base - 1, of means; None: the base, older versions
    )

    @model_validator(mode="after")
    def _is_summarised(self) -> Self:
        for split in ("valid", "test"):
            if missing := {"auc", "logloss"} - set(self.summary.get(split, ())):
                raise ValueError(f"summary.{split}: {min(missing)} is missing")
        return self


class Versus(StrictModel):
    """One model against another on the same test rows; a positive delta is a larger value."""

    model: str
    base: str
    split: Literal["test"] = "test"
    rows: int
    auc: Comparison
    logloss: Comparison


def best_on_validation(valid_auc: Mapping[str, float]) -> str:
    """The best model by its validation AUC, which is the mean over its seeds; of equal ones the first.

    Reports, verdicts and bundles all name this one.
    """
    return max(valid_auc, key=lambda name: valid_auc[name])


class Results(StrictModel):
    """`metrics.json`."""

    version: Literal[1] = 1
    data: DataSummary
    base: str
    evaluation: EvaluationConfig
    models: tuple[ModelResult, ...] = Field(min_length=1)
    comparisons: tuple[Versus, ...]  # with the base; p-values and intervals adjusted over these, per metric
    counterparts: tuple[Versus, ...] = ()  # transferred with plain model, control with found one; likewise
    against_best: tuple[Versus, ...] = ()  # the best model on validation rows with each other; likewise
    notes: tuple[str, ...] = ()  # sentences about what the comparison leaves out, and its base
    failed: dict[str, str] = Field(default_factory=dict)  # entries that a comparison leaves out, and why
    grouping: Grouping | None = None
    segments: tuple[SegmentTable, ...] = ()  # of the retrained model (or the best by validation) and the base
    stability: tuple[Stability, ...] = ()  # of searches that were repeated for each seed
    searches: tuple[SearchAnalysis, ...] = ()  # of a run: one; of a comparison: one per entry with a search
    tuning: TuningSummary | None = None  # None: settings were not tuned
    code_version: str
    config: dict[str, Any]  # of the whole run

    def model(self, name: str) -> ModelResult:
        """The model of that name, which must exist."""
        return next(model for model in self.models if model.name == name)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of every model that depends on them."""
        seeded = [model for model in self.models if not model.deterministic] or [self.models[0]]
        return tuple(dict.fromkeys(each.seed for each in seeded[0].seeds))

    @property
    def shown(self) -> ModelResult:
        """The model that a page shows first: the one that the search found, if any."""
        return next((model for model in self.models if model.kind == "retrained"), self.models[0])

    @property
    def best(self) -> ModelResult:
        """The best model on validation rows."""
        return self.best_of(self.models)

    def best_of(self, models: Sequence[ModelResult]) -> ModelResult:
        """The best of some models on validation rows."""
        return self.model(
            best_on_validation({model.name: model.summary["valid"]["auc"].mean for model in models})
        )

    @property
    def unfinished(self) -> tuple[ModelResult, ...]:
        """Models that were still improving when their training ended, so that no comparison is valid."""
        return tuple(model for model in self.models if model.limited_by)

    def versus_best(self, name: str) -> Versus | None:
        """How the best model on validation rows compares with this one; None for the best itself."""
        best = self.best.name
        return next((v for v in self.against_best if (v.model, v.base) == (best, name)), None)

    def versus_base(self, name: str) -> Versus | None:
        """How a model compares with the base; None for the base itself."""
        return next((versus for versus in self.comparisons if versus.model == name), None)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read and validate `metrics.json`."""
        return storage.read_record(path, cls)

    def save(self, path: str | Path) -> None:
        """Write `metrics.json` atomically."""
        storage.write_record(path, self)
