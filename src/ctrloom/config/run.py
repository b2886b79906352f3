"""The configuration of one run of the whole pipeline."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ctrloom.config.base import ConfigError, SectionError, StrictModel, not_among, parse_section
from ctrloom.config.data import DataConfig
from ctrloom.config.engine import EngineConfig
from ctrloom.config.models import MODELS
from ctrloom.config.models_section import (
    BaselineName,
    ModelsConfig,
    Transfer,
    require_selections,
    tuned_transfers,
)
from ctrloom.config.search import DEFAULT_METHOD, METHODS, AutoFISConfig, SearchConfig
from ctrloom.config.timestamp import Timestamp
from ctrloom.config.tracking import TrackingConfig
from ctrloom.config.tuning import Target, TuningConfig, TuningJob
from ctrloom.config.types import SPLITS, Bootstrap, Count, Few, FewOrZero, RowCount, Seed, Seeds, Split
from ctrloom.config.vocabulary import Keep, VocabularyConfig


class EvaluationConfig(StrictModel):
    """How models are compared."""

    base: str = "fm"  # the model that all others are tested against
    bootstrap: Bootstrap = 2000
    bins: Few = 20
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    seed: Seed = 0
    truth: str | None = None  # synthetic data: file with the planted interactions
    # Columns with values of a row: fields of tokens or buckets, columns of kind context, and `day`.
    group: str | None = None  # also measure AUC within the groups of this column (GAUC)
    segments: tuple[str, ...] = ()  # also measure within each value of these columns
    segment_values: Few = 20  # values of a column that are shown; the rest is one segment
    columns: tuple[str, ...] = ()  # in predictions.parquet
    permutations: FewOrZero = 5  # shuffles of each field for its importance; 0: none
    permutation_rows: Count = 50_000  # validation rows of it, at most


class Expected(StrictModel):
    """Published sizes of a data set, to check that the public files are complete."""

    fields: Count
    features: RowCount | None = None  # number of ids over all fields, as counted by the source
    rows: dict[Literal[Split, "all"], RowCount] = Field(default_factory=dict)
    source: str


class ExperimentConfig(EngineConfig):
    """Common base of runs and comparisons: data, engine, settings per model and method, seeds.

    `searches` holds settings per method, for files that are extended by others.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    data: DataConfig
    vocabulary: VocabularyConfig = VocabularyConfig()
    searches: dict[str, dict[str, Any]] = Field(default_factory=dict)
    models: ModelsConfig = ModelsConfig()
    seeds: Seeds = (0, 1, 2)
    bundles: tuple[str, ...] = ()  # models to bundle, in addition to the best one
    evaluation: EvaluationConfig = EvaluationConfig()
    tuning: TuningConfig | None = None  # None: every model has the configured settings
    expected: Expected | None = None
    tracking: TrackingConfig | None = None

    def with_tuning(self) -> Self:
        """This configuration with the default section `tuning`, if it has none."""
        return self if self.tuning else self.model_copy(update={"tuning": TuningConfig()})

    @field_validator("searches")
    @classmethod
    def _settings_exist(cls, searches: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for method, settings in searches.items():
            if method not in METHODS:
                raise SectionError([(method, not_among(METHODS, method))])
            parse_section(METHODS[method].config, {**settings, "method": method}, method)
        return searches

    @model_validator(mode="after")
    def _columns_have_values(self) -> Self:
        known = self._columns_with_values()
        its = self.evaluation
        given = {"group": (its.group,) if its.group else (), "segments": its.segments, "columns": its.columns}
        for key, names in given.items():
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"evaluation.{key}: duplicate {twice[0]!r}")
            if unknown := [name for name in names if name not in known]:
                raise ValueError(
                    f"evaluation.{key}: no row has a value of {unknown[0]!r}; choose from "
                    f"{', '.join(known)}, or give the column the kind context in data.columns"
                )
        if taken := {"row", "label", "weight"} & {*its.columns}:
            raise ValueError(
                f"evaluation.columns: predictions.parquet has a column {min(taken)!r} already; rename yours "
                "in data.columns"
            )
        return self

    def _columns_with_values(self) -> list[str]:
        """Columns that evaluation can read: see `EvaluationConfig`."""
        found = []
        for name, column in self.data.columns.items():
            own = self.vocabulary.fields.get(name)
            bucketing = (own and own.bucketing) or self.vocabulary.bucketing
            if isinstance(column, Timestamp):
                found += [f"{name}_{part}" for part in column.derive]
            bucketed = column.kind == "numeric" and not isinstance(bucketing, Keep)
            if bucketed or column.kind in ("categorical", "context"):
                found.append(name)
        return found + ["day" for _ in self.data.named("timestamp") if "day" not in found]

    @model_validator(mode="after")
    def _has_all_splits(self) -> Self:
        """Fail now instead of after training."""
        if twice := [seed for seed in self.seeds if self.seeds.count(seed) > 1]:
            raise ValueError(f"seeds: duplicate seed {twice[0]}; each seed must be unique")
        for split in SPLITS[1:]:
            share, start = getattr(self.data.split, split), getattr(self.data.split, f"{split}_from", None)
            if not getattr(self.data.files, split) and share == 0 and start is None:
                raise ValueError(f"data.split.{split}: a run needs {split} rows; give a share, or files")
        return self


def require_trained(bundles: Sequence[str], names: Sequence[str]) -> None:
    """Raise ValueError for a bundle of a model that is not trained."""
    if unknown := [name for name in bundles if name not in names]:
        raise ValueError(f"bundles: {unknown[0]!r} is not trained; choose from {', '.join(names)}")
    if twice := [name for name in bundles if bundles.count(name) > 1]:
        raise ValueError(f"bundles: duplicate {twice[0]!r}")
    if "best" in bundles:
        raise ValueError("bundles: the folder 'best' is that of the best model; rename the entry")


def of_its_method(search: Any, searches: Any) -> Any:
    """A raw `search` section merged over `searches.<method>`; the default method is AutoFIS."""
    if not isinstance(search, Mapping):
        return search
    method = search.get("method", DEFAULT_METHOD)
    own = searches.get(method) if isinstance(searches, Mapping) and isinstance(method, str) else None
    return {"method": method, **(own if isinstance(own, Mapping) else {}), **search}


class RunConfig(ExperimentConfig):
    """One run of the whole pipeline."""

    search: SearchConfig = AutoFISConfig()
    baselines: tuple[BaselineName, ...] = ("lr", "fm", "fwfm", "fnn", "deepfm", "ipnn")
    transfer: tuple[Transfer, ...] = (Transfer(model="ipnn"), Transfer(model="deepfm"))

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        search = of_its_method(raw.get("search", {}), raw.get("searches"))
        method = search["method"] if isinstance(search, Mapping) else DEFAULT_METHOD
        transfers = method not in METHODS or METHODS[method].transfers
        return {**({} if transfers else {"transfer": ()}), **raw, "search": search}

    @model_validator(mode="after")
    def _can_be_evaluated(self) -> Self:
        method = METHODS[self.search.method]
        if self.transfer and not method.transfers:
            raise ValueError(f"transfer: other models cannot use what {method.title} finds; set transfer: []")
        if self.search.base in self.baselines:
            raise ValueError(
                f"baselines: {self.search.base!r} is also search.base, whose retrained model has this name; "
                "leave it out of baselines"
            )
        require_selections(self.transfer, self.search.controls, self.search.random_draws)
        moved = [f"{each.name}-transfer" for each in self.transfer]
        names = [*self.baselines, self.search.base, *moved]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"baselines and transfer: duplicate {twice[0].removesuffix('-transfer')!r}")
        if self.evaluation.base not in names:
            raise ValueError(
                f"evaluation.base: {self.evaluation.base!r} is not trained; choose from {', '.join(names)}"
            )
        controls = [f"{self.search.base}-{name}" for name in self.search.controls]
        require_trained(self.bundles, [*names, *controls])
        return self

    def tuning_jobs(self) -> tuple[TuningJob, ...]:
        """One per model: the baselines, the searched model, and those that its result is transferred to."""
        targets = (
            *(Target(name=name, model=name) for name in self.baselines),
            Target(name=self.search.base, model=self.search.base, found=True),
            *(
                Target(name=f"{name}-transfer", model=model, found=True, transferred=True)
                for model, name in tuned_transfers(self.transfer).items()
            ),
        )
        seed = self.seeds[0]
        return tuple(TuningJob(targets=(target,), models=self.models, seed=seed) for target in targets)

    def tuning_jobs_of(self, model: str, found: bool) -> tuple[TuningJob, ...]:
        """One for a single model: over what a search found, or over all pairs; it need not be in the run.

        Raises:
            ConfigError: there is no such model, or it cannot be trained so.
        """
        entry = MODELS[model]
        if not (entry.transfers or model == self.search.base if found else entry.baseline):
            how = "over what this search found" if found else "without the result of a search"
            raise ConfigError(f"tune: {model} cannot be trained {how}")
        transferred = found and model != self.search.base
        name = f"{model}-transfer" if transferred else model
        target = Target(name=name, model=model, found=found, transferred=transferred)
        return (TuningJob(targets=(target,), models=self.models, seed=self.seeds[0]),)
