"""Typed run configuration: one section per stage of the pipeline.

The same names are keys of the YAML file, parameters of the components and options on the command line.
An unknown key is refused, and the message names the nearest key that exists.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, SerializationInfo, field_serializer, model_validator

from ctrloom.section import Section

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
BatchSize = Annotated[int, Field(ge=2)]  # a single row has no batch statistics
ModelName = Literal["lr", "fm", "fwfm", "fnn", "deepfm", "ipnn", "autofm", "autodeepfm"]
BaselineName = Literal["lr", "fm", "fwfm", "fnn", "deepfm", "ipnn"]
Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


# ---------------------------------------------------------------------------------------------- data


class Categorical(Section):
    """A column of tokens."""

    kind: Literal["categorical"] = "categorical"


class Numeric(Section):
    """A column of numbers; `vocabulary` says how they become ids."""

    kind: Literal["numeric"] = "numeric"


class Multivalued(Section):
    """A column that holds any number of tokens, joined by `separator`."""

    kind: Literal["multivalued"] = "multivalued"
    separator: Annotated[str, Field(min_length=1)] = "|"


class Timestamp(Section):
    """A point in time: seconds since 1970 (UTC), or text in the strptime `format`."""

    kind: Literal["timestamp"] = "timestamp"
    format: str | None = None
    derive: tuple[Literal["hour", "weekday", "day", "month"], ...] = ()  # become fields <column>_hour, ...


class Label(Section):
    """What is to be predicted.

    Without `positive` the column itself holds 0 and 1 (or -1 and 1, false and true). `positive` is a
    comparison (`> 3`, `== 4`, `<= 2`) or the value that means a click. Rows where `drop` holds are left out.
    """

    kind: Literal["label"] = "label"
    positive: str | None = None
    drop: str | None = None


class Weight(Section):
    """A non-negative weight of the row, used in the loss and in the metrics."""

    kind: Literal["weight"] = "weight"


class Ignored(Section):
    """A column that is not read."""

    kind: Literal["ignored"] = "ignored"


Column = Annotated[
    Categorical | Numeric | Multivalued | Timestamp | Label | Weight | Ignored, Discriminator("kind")
]


class SourceConfig(Section):
    """How the bytes of a file become typed columns; enough to read rows again at prediction time."""

    format: Literal["csv", "tsv", "libsvm", "parquet"] = "csv"
    header: bool = True  # csv and tsv: the first line names the columns; otherwise `columns` does, in order
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None  # csv: default is a comma
    missing_values: tuple[str, ...] = ("",)  # tokens that mean "no value"
    other_columns: Literal["refuse", "ignore"] = "refuse"  # columns of the file that `columns` does not name
    columns: dict[str, Column]

    @model_validator(mode="before")
    @classmethod
    def _shorthands(cls, raw: Any) -> Any:
        """`name: categorical` for `name: {kind: categorical}`; `I1..I13` and `f_00..f_12` for 13 columns."""
        named = raw.get("columns") if isinstance(raw, Mapping) else None
        if isinstance(named, list | tuple) and all(isinstance(c, Mapping) and "name" in c for c in named):
            pairs = [(c["name"], {k: v for k, v in c.items() if k != "name"}) for c in named]
        elif isinstance(named, Mapping):
            pairs = list(named.items())
        else:
            return raw
        columns: dict[str, Any] = {}
        for name, column in pairs:
            for each in _expand(str(name)):
                if each in columns:
                    raise ValueError(f"columns: {each!r} stands twice")
                columns[each] = {"kind": column} if isinstance(column, str) else column
        return {**raw, "columns": columns}

    @field_serializer("columns")
    def _in_order(self, columns: dict[str, Column], info: SerializationInfo) -> list[dict[str, Any]]:
        """A list: the order of columns means something, and not every carrier of JSON keeps that of keys."""
        dumped = [
            (n, c.model_dump(mode=info.mode, exclude_none=info.exclude_none)) for n, c in columns.items()
        ]
        return [{"name": name, **column} for name, column in dumped]

    @model_validator(mode="after")
    def _one_label(self) -> Self:
        if len(labels := self.named("label")) != 1:
            raise ValueError(f"exactly one column must be of kind label, found {', '.join(labels) or 'none'}")
        for kind in ("weight", "timestamp"):
            if len(found := self.named(kind)) > 1:
                raise ValueError(f"at most one column can be of kind {kind}, found {', '.join(found)}")
        if not any(c.kind in ("categorical", "numeric", "multivalued") for c in self.columns.values()):
            raise ValueError(
                "no column is a field: name at least one categorical, numeric or multivalued one"
            )
        return self

    def named(self, kind: str) -> list[str]:
        """Names of the columns of one kind, in file order."""
        return [name for name, column in self.columns.items() if column.kind == kind]


class Files(Section):
    """Paths, globs or URLs per split; a split without files is carved out of `train` as `split` says."""

    train: tuple[str, ...]
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        return {split: [names] if isinstance(names, str) else names for split, names in raw.items()}


class RandomSplit(Section):
    """Rows drawn at random, `stratified` so that every part has the same label rate."""

    by: Literal["random"] = "random"
    valid: Fraction = 0.1
    test: Fraction = 0.1
    seed: int = 0
    stratified: bool = False


class TimeSplit(Section):
    """The newest rows are the test split, those before them the validation split.

    Either shares of the rows (`valid`, `test`) or instants (`valid_from`, `test_from`, ISO 8601, UTC).
    """

    by: Literal["time"] = "time"
    valid: Fraction = 0.1
    test: Fraction = 0.1
    valid_from: str | None = None
    test_from: str | None = None


class DataConfig(SourceConfig):
    """A data set: files (paths, globs or URLs), their columns, and how they are split."""

    files: Files  # a list, or one name, stands for `train`
    split: Annotated[RandomSplit | TimeSplit, Discriminator("by")] = RandomSplit()
    max_malformed: Fraction = 0.01  # share of malformed rows past which ingest stops

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        files, split = raw.get("files"), raw.get("split")
        if isinstance(files, str | list | tuple):
            raw = {**raw, "files": {"train": [files] if isinstance(files, str) else files}}
        if isinstance(split, Mapping):
            raw = {**raw, "split": {"by": "random", **split}}
        return raw

    @model_validator(mode="after")
    def _time_is_known(self) -> Self:
        if self.split.by == "time" and not self.named("timestamp"):
            raise ValueError("split: a split by time needs a column of kind timestamp")
        return self

    @property
    def source(self) -> SourceConfig:
        """The part that predictions need too."""
        return SourceConfig(**{name: getattr(self, name) for name in SourceConfig.model_fields})


# ---------------------------------------------------------------------------------------- vocabulary


class LogSquared(Section):
    """floor(ln(x)^2) for x > 2, else floor(x) (AutoInt, section 5.1.1, and its code)."""

    method: Literal["log_squared"] = "log_squared"


class EqualFrequency(Section):
    """Buckets that hold equally many training rows (AutoFIS and AIM on Criteo)."""

    method: Literal["equal_frequency"] = "equal_frequency"
    buckets: Annotated[int, Field(ge=2)] = 40


class EqualWidth(Section):
    """Buckets of equal width between the smallest and the largest training value."""

    method: Literal["equal_width"] = "equal_width"
    buckets: Annotated[int, Field(ge=2)] = 40


class Boundaries(Section):
    """Given boundaries: bucket k holds values[k-1] <= x < values[k]."""

    method: Literal["boundaries"] = "boundaries"
    values: Annotated[tuple[float, ...], Field(min_length=1)]


class Keep(Section):
    """Not bucketed: the field's embedding is multiplied by the scaled number."""

    method: Literal["keep"] = "keep"
    scaling: Literal["none", "min_max", "log"] = "min_max"  # log: sign(x) * ln(1 + |x|)


Bucketing = Annotated[LogSquared | EqualFrequency | EqualWidth | Boundaries | Keep, Discriminator("method")]


class FieldVocabulary(Section):
    """What one field does differently."""

    min_count: Count | None = None
    bucketing: Bucketing | None = None
    max_values: Count | None = None  # multi-valued: tokens kept per row


class VocabularyConfig(Section):
    """How values become ids; everything is fitted on the training split."""

    min_count: Count = 1  # tokens seen less often share id 1 with the unseen ones
    bucketing: Bucketing = LogSquared()
    max_values: Count = 20
    fields: dict[str, FieldVocabulary] = Field(default_factory=dict)


# ------------------------------------------------------------------------------- search and training


class SearchConfig(Section):
    """AutoFIS: which interactions of each order a model needs (AutoFIS, section 3.2)."""

    method: Literal["autofis"] = "autofis"
    base: Literal["autofm", "autodeepfm"] = "autofm"
    order: Literal[2, 3] = 2
    higher_order: Literal["sequential", "joint"] = "sequential"  # joint: lower orders are searched again
    warm_up: Annotated[int, Field(ge=0)] = 1  # passes that train the linear part alone; 0 in the paper
    gate_warm_up: Annotated[int, Field(ge=0)] = (
        3  # passes with fixed gates, per order above 2; 0 in the paper
    )
    epochs: Count = 5
    batch_size: BatchSize | None = None  # 2000 as in the paper; less on small data, for 80 steps a pass
    learning_rate: Positive = 1e-2
    embedding_l2: Annotated[float, Field(ge=0)] = 0.0  # as in the paper; much of it hides rare pairs
    gate_learning_rate: Positive = 1.0
    learning_rate_decay: Positive = 1.0  # factor after each fifth of the search
    gate_decay: Positive = 0.6  # the same for the gates
    gate_init: Positive = 0.6
    c: Positive | None = None  # GRDA's c; by default scaled to the number of steps, see `threshold`
    mu: Positive = 0.8
    threshold: Positive = 3.0  # soft threshold at the end of the search, in units of gate_init
    seed: int = 0
    # Control: random selections of the same size; seed number i is trained on draw i modulo their number.
    random_draws: Annotated[int, Field(ge=0)] = 10


class Hyperparameters(Section):
    """Everything that turns an architecture and a data set into a trained model."""

    embedding_size: Count = 10
    embedding_std: Positive | None = None  # None: Xavier over the whole table, as AutoFIS has it
    hidden: tuple[Count, ...] = (400, 400, 400)
    dropout: Fraction = 0.0
    batch_norm: bool = False
    epochs: Count = 20
    batch_size: BatchSize = 4096
    learning_rate: Positive = 1e-3
    embedding_l2: Annotated[float, Field(ge=0)] = 0.0  # adds l2/2 * |table|^2 to the loss
    patience: Count = (
        2  # epochs without a better validation score before the learning rate falls, then the end
    )
    decays: Annotated[int, Field(ge=0)] = 0  # how often the learning rate falls to a tenth before the end
    monitor: Literal["auc", "logloss"] = "auc"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"  # of matrix products in training

    @classmethod
    def of(cls, models: Mapping[Any, Mapping[str, Any]], name: str) -> Self:
        """Those of one model: what `models.default` says, overridden by what `models.<name>` says."""
        return cls.parse({**models.get("default", {}), **models.get(name, {})}, f"models.{name}")


class EvaluationConfig(Section):
    """How models are compared."""

    base: str = "fm"  # the model that every other one is tested against
    bootstrap: Count = 2000
    bins: Count = 20
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    seed: int = 0
    truth: str | None = None  # synthetic data: file with the planted interactions, to compare with


class RunConfig(Section):
    """One run of the whole pipeline."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    data: DataConfig
    vocabulary: VocabularyConfig = VocabularyConfig()
    search: SearchConfig = SearchConfig()
    models: dict[Literal["default", ModelName], dict[str, Any]] = Field(default_factory=dict)
    baselines: tuple[BaselineName, ...] = ("lr", "fm", "fwfm", "fnn", "deepfm", "ipnn")
    transfer: tuple[Literal["ipnn", "deepfm"], ...] = ("ipnn", "deepfm")
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _hyperparameters_exist(self) -> Self:
        for name in self.models:
            Hyperparameters.of(self.models, name)
        return self

    @model_validator(mode="after")
    def _can_be_evaluated(self) -> Self:
        """Say now what would otherwise fail when everything is trained."""
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: a seed stands twice; its second training would be the first over again")
        names = [*self.baselines, self.search.base, *(f"{name}-transfer" for name in self.transfer)]
        if self.evaluation.base not in names:
            raise ValueError(
                f"evaluation.base: {self.evaluation.base!r} is not trained; choose from {', '.join(names)}"
            )
        for split in ("valid", "test"):
            share, start = getattr(self.data.split, split), getattr(self.data.split, f"{split}_from", None)
            if not getattr(self.data.files, split) and share == 0 and start is None:
                raise ValueError(f"data.split.{split}: a run needs {split} rows; give a share, or files")
        return self


def _expand(name: str) -> list[str]:
    match = re.fullmatch(r"(\D*)(\d+)\.\.(\D*)(\d+)", name)
    if not match or match[1] != match[3]:
        return [name]
    if int(match[2]) > int(match[4]):
        raise ValueError(f"{name!r} stands for no column: its first number is larger than its last")
    digits = len(match[2]) if match[2].startswith("0") else 1
    return [f"{match[1]}{i:0{digits}}" for i in range(int(match[2]), int(match[4]) + 1)]
