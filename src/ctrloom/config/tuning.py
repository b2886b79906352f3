"""Tuning: the budget that every model gets, and the search space of each model."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from ctrloom.config.base import SectionError, StrictModel, not_among, parse_section
from ctrloom.config.models import MODELS, Hyperparameters
from ctrloom.config.models_section import ModelName, ModelsConfig, no_effect
from ctrloom.config.search import SearchConfig
from ctrloom.config.types import CountOrZero, Few, Number, Positive, Seed

COMMON = "common"  # the space of models that have none of their own
Metric = Literal["logloss", "auc"]


class Dimension(StrictModel):
    """Values of one setting: `choices`, written as a list, or an interval from `low` to `high`."""

    choices: tuple[Any, ...] | None = None
    low: Number | None = None
    high: Number | None = None
    log: bool = False  # draw the logarithm uniformly

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, raw: Any) -> Any:
        return {"choices": raw} if isinstance(raw, list | tuple) else raw

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.choices is None) != (self.low is not None and self.high is not None):
            raise ValueError("give a list of values, or low and high")
        if self.low is not None and self.high is not None:
            if self.low >= self.high:
                raise ValueError(f"low: {self.low:g} is not below high ({self.high:g})")
            if self.log and self.low <= 0:
                raise ValueError(f"low: log needs a positive value, not {self.low:g}")
        return self

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values that are valid if all are."""
        return (self.low, self.high) if self.choices is None else self.choices


Space = dict[str, Dimension]


class TuningConfig(StrictModel):
    """How every model is tuned: all get the same number of trials and seconds.

    `spaces` replaces single settings in the space of a model; an empty list excludes one from tuning.
    """

    trials: Few = 30
    seconds: Positive | None = None  # per model; None: no limit. The budget ends with whichever is first
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["median", "none"] = "median"
    seed: Seed = 0  # of the sampler
    metric: Metric = "logloss"  # on the validation rows
    spaces: dict[str, Space] = Field(default_factory=dict)

    @field_validator("spaces")
    @classmethod
    def _settings_exist(cls, spaces: dict[str, Space]) -> dict[str, Space]:
        for name, space in spaces.items():
            if name not in MODELS:
                raise SectionError([(name, not_among(MODELS, name))])
            require_settings(MODELS[name].settings, space, name)
            if ignored := [key for key in MODELS[name].lacks if key in space and space[key].choices != ()]:
                raise SectionError([(f"{name}.{ignored[0]}", no_effect(name))])
        return spaces

    @property
    def in_parallel(self) -> Self:
        """The same budget for trials that do not depend on each other."""
        return self.model_copy(update={"sampler": "random", "pruner": "none"})

    def space(self, model: str) -> Space:
        """The space of a model: the default one, with what `spaces` replaces."""
        whole = {**default_space(model), **self.spaces.get(model, {})}
        return {key: dimension for key, dimension in whole.items() if dimension.choices != ()}

    def may_draw(self, model: str, configured: Hyperparameters) -> bool:
        """True if the best settings may make a training random that is not with the configured ones."""
        tried = ({key: value} for key, each in self.space(model).items() for value in each.examples)
        return any(configured.model_copy(update=one).draws for one in tried)


class Target(StrictModel):
    """A model to tune: over all interactions of some orders, or over those that a search found."""

    name: str  # of its row in the results
    model: ModelName
    orders: tuple[Literal[2, 3, 4], ...] = (2,)
    found: bool = False
    transferred: bool = False  # not trained if the search found nothing


class TuningJob(StrictModel):
    """Models that are tuned in one step; `search` runs first, unless its result is given."""

    targets: tuple[Target, ...] = ()
    models: ModelsConfig = ModelsConfig()
    search: SearchConfig | None = None
    seed: Seed = 0  # that all trials are trained with


class PlannedTrial(StrictModel):
    """A trial whose settings are known before any other has run."""

    target: Target
    number: CountOrZero
    seed: Seed
    settings: dict[str, Any]


def default_space(model: str) -> Space:
    """The space of a model in `spaces.yaml`; that of the common settings if it has none."""
    spaces = _spaces()
    return spaces.get(model, spaces[COMMON])


def require_settings(kind: type[Hyperparameters], space: Mapping[str, Dimension], name: str) -> None:
    """Check that a space names settings of a model, and values that they can have.

    Raises:
        SectionError: unknown setting, or invalid value.
    """
    for key, dimension in space.items():
        for value in dimension.examples or (None,):
            try:
                parse_section(kind, {key: value}, name)
            except SectionError as error:  # settings that exclude each other are no problem of one of them
                own = [problem for problem in error.problems if problem[0].startswith(f"{name}.{key}")]
                if own and (dimension.examples or "unknown key" in own[0][1]):
                    raise SectionError(own) from None


@cache
def _spaces() -> dict[str, Space]:
    raw = yaml.safe_load((files("ctrloom.config") / "spaces.yaml").read_text(encoding="utf-8"))
    return {
        name: {key: Dimension.model_validate(value) for key, value in space.items()}
        for name, space in raw.items()
        if not name.startswith("_")
    }
