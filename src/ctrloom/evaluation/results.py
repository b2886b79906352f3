"""The record of an evaluation, `metrics.json`: every number with its split, rows, seed and data."""

from pathlib import Path
from typing import Any, Literal, Self

from ctrloom import storage
from ctrloom.config import EvaluationConfig, Split
from ctrloom.config.base import StrictModel
from ctrloom.evaluation.significance import Comparison
from ctrloom.metrics.measure import Confusion, Curve, Metrics
from ctrloom.training.history import Epoch, Kind

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
    rows: dict[Split, int]
    label_rate: dict[Split, float]
    fields: tuple[FieldSummary, ...]


class SeedMetrics(StrictModel):
    """Metrics of one training."""

    seed: int
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
    parameters: int
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


class Versus(StrictModel):
    """One model against another on the same test rows; a positive delta is a larger value."""

    model: str
    base: str
    split: Literal["test"] = "test"
    rows: int
    auc: Comparison
    logloss: Comparison


class Results(StrictModel):
    """`metrics.json`."""

    version: Literal[1] = 1
    data: DataSummary
    base: str
    evaluation: EvaluationConfig
    models: tuple[ModelResult, ...]
    comparisons: tuple[Versus, ...]  # with the base; p-values and intervals adjusted over these, per metric
    counterparts: tuple[Versus, ...] = ()  # transferred with plain model, control with found one; likewise
    against_best: tuple[Versus, ...] = ()  # the best model on validation rows with each other; likewise
    notes: tuple[str, ...] = ()  # sentences about what the comparison leaves out, and its base
    code_version: str
    config: dict[str, Any]  # of the whole run

    def model(self, name: str) -> ModelResult:
        """The model of that name, which must exist."""
        return next(model for model in self.models if model.name == name)

    @property
    def shown(self) -> ModelResult:
        """The model that a page shows first: the one that the search found, if any."""
        return next((model for model in self.models if model.kind == "retrained"), self.models[0])

    @property
    def best(self) -> ModelResult:
        """The model of highest mean validation AUC."""
        return max(self.models, key=lambda model: model.summary["valid"]["auc"].mean)

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
        return cls.parse(storage.read_json(path), str(path))

    def save(self, path: str | Path) -> None:
        """Write `metrics.json` atomically."""
        storage.write_json(path, self.model_dump(mode="json"))
