"""The configuration of a comparison: many methods and models on one data set."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ctrloom.config.base import ConfigError, StrictModel, not_among, parse_section
from ctrloom.config.models import MODELS
from ctrloom.config.models_section import (
    BaselineName,
    ModelsConfig,
    Transfer,
    require_selections,
    tuned_transfers,
)
from ctrloom.config.run import ExperimentConfig, of_its_method, require_trained
from ctrloom.config.search import WITHOUT_RETRAINING, SearchConfig, shared_draws
from ctrloom.config.tuning import Target, TuningJob
from ctrloom.config.types import NotNegative, RowCount

KeptShares = Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1, max_length=3)]


class Published(StrictModel):
    """What a paper reports for a method; `split` is "same" if it was measured on the same rows."""

    auc: Annotated[float, Field(ge=0, le=1)]
    logloss: NotNegative | None = None
    kept: KeptShares | None = None  # of the candidates: one share of all, or one for each order
    parameters: RowCount | None = None
    dense_parameters: RowCount | None = None  # without embedding tables
    search_minutes: NotNegative | None = None  # of one search, on the paper's machine
    train_minutes: NotNegative | None = None  # of one training, likewise
    split: Literal["same", "another"] = "another"


class Entry(StrictModel):
    """One row of the table: a model, or a search and the models trained on its result."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str | None = None
    model: BaselineName | None = None
    search: SearchConfig | None = None
    controls: tuple[str, ...] = ()  # of the search, by name: random, unpruned, ...
    transfer: tuple[Transfer, ...] = ()  # further models to train on the result of the search
    settings: dict[str, Any] = Field(default_factory=dict)  # hyper-parameters; override those in `models`
    orders: tuple[Literal[2, 3, 4], ...] = (2,)  # of a `model`: it gets all interactions of these orders
    published: Published | None = None
    published_for: dict[str, Published] = Field(default_factory=dict)  # per control and transfer

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.model is None) == (self.search is None):
            raise ValueError(f"{self.name}: give either `model` or `search`")
        if self.model is not None and (self.controls or self.transfer):
            raise ValueError(f"{self.name}: controls and transfer need a `search`")
        known, draws = (self.search.controls, self.search.random_draws) if self.search else ((), 0)
        if unknown := set(self.controls) - set(known):
            keeps = WITHOUT_RETRAINING in unknown and hasattr(self.search, "keep_weights")
            way = "set search.keep_weights: true" if keeps else f"choose from {', '.join(known) or '(none)'}"
            raise ValueError(
                f"{self.name}: controls: {min(unknown)!r} is not a control of this search; {way}"
            )
        require_selections(self.transfer, known, draws)
        if "random" in self.controls and not draws:
            raise ValueError(f"{self.name}: controls: random needs search.random_draws above 0")
        if unknown := set(self.published_for) - set(self._parts):
            raise ValueError(
                f"{self.name}: published_for: {min(unknown)!r} is neither a control nor a transfer of it"
            )
        return self

    @property
    def trained(self) -> str:
        """The model of the entry's main row."""
        name = self.model or (self.search and self.search.base)
        assert name, "an entry has a model or a search"
        return name

    @property
    def _parts(self) -> tuple[str, ...]:
        return *self.controls, *(each.name for each in self.transfer)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rows of the entry in the table."""
        return self.name, *(f"{self.name}-{part}" for part in self._parts)

    def figures(self) -> dict[str, Published]:
        """Published figures by the name of their row."""
        own = {self.name: self.published} if self.published else {}
        return own | {f"{self.name}-{part}": each for part, each in self.published_for.items()}

    def targets(self) -> tuple[Target, ...]:
        """What is tuned: the main row, and a transfer to each model; controls have the settings of these."""
        if self.model:
            return (Target(name=self.name, model=self.model, orders=self.orders),)
        transfers = (
            Target(name=name, model=model, found=True, transferred=True)
            for model, name in self.tuned_transfers.items()
        )
        return (Target(name=self.name, model=self.trained, found=True), *transfers)

    @property
    def tuned_transfers(self) -> dict[str, str]:
        """Of each model that the result is transferred to, the row whose tuned settings it has."""
        return {model: f"{self.name}-{name}" for model, name in tuned_transfers(self.transfer).items()}

    @property
    def has_random(self) -> bool:
        """Whether models are trained on random selections."""
        return "random" in {*self.controls, *(each.of for each in self.transfer)}

    def searched(self, seed: int, draws: int) -> SearchConfig | None:
        """The search of one seed, if any, with a number of random selections."""
        if self.search is None:
            return None
        return self.search.model_copy(update={"seed": seed, "random_draws": draws})

    def models(self, models: ModelsConfig) -> ModelsConfig:
        """Settings per model, overridden by those of this entry."""
        return models.override(self.trained, self.settings)

    def same_for_every_seed(self, models: ModelsConfig) -> bool:
        """True if every seed gives the same result; `models` are those of this entry."""
        return self.model is not None and MODELS[self.model].same_for_every_seed(models.of(self.model))


class CompareConfig(ExperimentConfig):
    """A list of methods and models, trained with the same seeds and tested on the same rows.

    The search is repeated for every seed, so the spread over seeds covers search and training.
    """

    title: str | None = None
    note: str = ""  # shown below the table
    entries: Annotated[tuple[Entry, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("entries"), list | tuple):
            return raw
        entries = [
            {**entry, "search": of_its_method(entry["search"], raw.get("searches"))}
            if isinstance(entry, Mapping) and entry.get("search") is not None
            else entry
            for entry in raw["entries"]
        ]
        return {**raw, "entries": entries}

    def seeds_of(self, entry: Entry) -> tuple[int, ...]:
        """The seeds to train an entry with: one is enough if every seed gives the same result.

        Whether tuning chooses settings that draw is not known yet, so that it is enough that it may.
        """
        own = entry.models(self.models)
        drawn = self.tuning is not None and self.tuning.may_draw(entry.trained, own.of(entry.trained))
        return self.seeds[:1] if entry.same_for_every_seed(own) and not drawn else self.seeds

    @property
    def jobs(self) -> list[tuple[Entry, int]]:
        """Every entry with each of its seeds."""
        return [(entry, seed) for entry in self.entries for seed in self.seeds_of(entry)]

    def draws_of(self, entry: Entry, seed: int) -> int:
        """Number of random selections of an entry with one seed: all its seeds share `random_draws`."""
        if entry.search is None or not entry.has_random:
            return 0
        seeds = self.seeds_of(entry)
        return len(shared_draws(seeds.index(seed), len(seeds), entry.search.random_draws))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [entry.name for entry in self.entries]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"entries: duplicate name {min(twice)!r}")
        if self.evaluation.base not in names:
            raise ValueError(
                f"evaluation.base: {self.evaluation.base!r} is not an entry; choose from {', '.join(names)}"
            )
        require_trained(self.bundles, [name for entry in self.entries for name in entry.names])
        for number, entry in enumerate(self.entries):
            own = {**self.models.raw("default"), **self.models.raw(entry.trained), **entry.settings}
            parse_section(MODELS[entry.trained].settings, own, f"entries.{number}.settings")
        return self

    def tuning_jobs(self) -> tuple[TuningJob, ...]:
        """One per entry, over the architecture that the search of the first seed found."""
        seed = self.seeds[0]
        return tuple(
            TuningJob(
                targets=entry.targets(),
                models=entry.models(self.models),
                search=entry.searched(seed, 0),
                seed=seed,
            )
            for entry in self.entries
        )

    def tuning_jobs_of(self, name: str, found: bool) -> tuple[TuningJob, ...]:
        """That of a single entry; if a search `found` something, it does not run again.

        Raises:
            ConfigError: there is no such entry.
        """
        names = [entry.name for entry in self.entries]
        if name not in names:
            raise ConfigError(f"entries: {not_among(names, name)}")
        return (self.tuning_jobs()[names.index(name)],)
