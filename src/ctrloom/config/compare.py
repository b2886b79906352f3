"""The configuration of a comparison: many methods and models on one data set."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ctrloom.config.base import StrictModel, parse_section
from ctrloom.config.models import MODELS
from ctrloom.config.models_section import BaselineName, ModelsConfig, TransferName
from ctrloom.config.run import ExperimentConfig, of_its_method, require_trained
from ctrloom.config.search import SearchConfig


class Published(StrictModel):
    """What a paper reports for a method; `split` is "same" if it was measured on the same rows."""

    auc: float
    logloss: float | None = None
    split: Literal["same", "another"] = "another"


class Entry(StrictModel):
    """One row of the table: a model, or a search and the models trained on its result."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str | None = None
    model: BaselineName | None = None
    search: SearchConfig | None = None
    controls: tuple[str, ...] = ()  # of the search, by name: random, unpruned, ...
    transfer: tuple[TransferName, ...] = ()  # further models to train on the result of the search
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
        known = self.search.controls if self.search else ()
        if unknown := set(self.controls) - set(known):
            raise ValueError(
                f"{self.name}: controls: {min(unknown)!r} is not a control of this search; "
                f"choose from {', '.join(known) or '(none)'}"
            )
        if unknown := set(self.published_for) - {*self.controls, *self.transfer}:
            raise ValueError(
                f"{self.name}: published_for: {min(unknown)!r} is neither a control nor a transfer of it"
            )
        return self

    @property
    def deterministic(self) -> bool:
        """True if every seed gives the same result."""
        return self.model is not None and MODELS[self.model].deterministic

    @property
    def trained(self) -> str:
        """The model of the entry's main row."""
        name = self.model or (self.search and self.search.base)
        assert name, "an entry has a model or a search"
        return name

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rows of the entry in the table."""
        return self.name, *(f"{self.name}-{part}" for part in (*self.controls, *self.transfer))

    def figures(self) -> dict[str, Published]:
        """Published figures by the name of their row."""
        own = {self.name: self.published} if self.published else {}
        return own | {f"{self.name}-{part}": each for part, each in self.published_for.items()}

    def models(self, models: ModelsConfig) -> ModelsConfig:
        """Settings per model, overridden by those of this entry."""
        return models.override(self.trained, self.settings)


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
        """The seeds to train an entry with: one is enough if every seed gives the same result."""
        return self.seeds[:1] if entry.deterministic else self.seeds

    @property
    def jobs(self) -> list[tuple[Entry, int]]:
        """Every entry with each of its seeds."""
        return [(entry, seed) for entry in self.entries for seed in self.seeds_of(entry)]

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
