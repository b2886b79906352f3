"""How a configuration refers to models: by name, and with settings per model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    RootModel,
    SerializeAsAny,
    model_serializer,
    model_validator,
)

from ctrloom.config.base import SectionError, StrictModel, not_among, parse, parse_section
from ctrloom.config.models import MODELS, Hyperparameters, ModelEntry


def _name(fits: Callable[[ModelEntry], bool] = lambda _: True) -> AfterValidator:
    """The name of a model for which `fits` is true."""

    def known(name: str) -> str:
        if name not in MODELS or not fits(MODELS[name]):
            fitting = (each for each in MODELS if fits(MODELS[each]))
            raise SectionError([("", not_among(fitting, name))])
        return name

    return AfterValidator(known)


ModelName = Annotated[str, _name()]
BaselineName = Annotated[str, _name(lambda entry: entry.baseline)]
TransferName = Annotated[str, _name(lambda entry: entry.transfers)]


def no_effect(name: str) -> str:
    """The message that a setting has no effect on a model."""
    return f"has no effect on {MODELS[name].title}; leave it out"


class Transfer(StrictModel):
    """A model to train over what a search found, written as its name, or over another selection.

    `of` is `found`, `selection` (the found fields without their functions), or a control of the search.
    """

    model: TransferName
    of: str = "found"

    @model_validator(mode="before")
    @classmethod
    def _named(cls, raw: Any) -> Any:
        return {"model": raw} if isinstance(raw, str) else raw

    @model_serializer
    def _short(self) -> str | dict[str, str]:
        return self.model if self.of == "found" else {"model": self.model, "of": self.of}

    @property
    def name(self) -> str:
        """Of the model among all transfers: `ipnn`, `random-fm`."""
        return self.model if self.of == "found" else f"{self.of}-{self.model}"

    @property
    def is_control(self) -> bool:
        """Whether it is over a control's selections."""
        return self.of not in ("found", "selection")


def require_selections(transfers: Sequence[Transfer], controls: Iterable[str], draws: int) -> None:
    """Raise ValueError for a transfer of a selection that a search does not write, or given twice."""
    for number, each in enumerate(transfers):
        if each.of not in (known := ["found", "selection", *controls]):
            raise ValueError(f"transfer.{number}.of: {not_among(known, each.of)}")
        if each.of == "random" and not draws:
            raise ValueError(f"transfer.{number}.of: random needs search.random_draws above 0")
    names = [each.name for each in transfers]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"transfer: duplicate {twice[0]!r}")


def tuned_transfers(transfers: Sequence[Transfer]) -> dict[str, str]:
    """Of each model, the transfer whose tuned settings all others have: of what was found, or the first."""
    ranked = sorted(reversed(transfers), key=lambda each: each.of == "found")
    return {each.model: each.name for each in ranked}


class ModelsConfig(RootModel[dict[str, dict[str, Any]]]):
    """Hyper-parameters per model, over those of `default`, which apply to all models."""

    model_config = ConfigDict(frozen=True)
    root: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _settings_exist(self) -> Self:
        for name in self.root:
            if name != "default" and name not in MODELS:
                raise SectionError([(name, not_among(["default", *MODELS], name))])
            parse_section(*self._settings(name), name)
            if name != "default" and (ignored := [k for k in MODELS[name].lacks if self.raw(name).get(k)]):
                raise SectionError([(f"{name}.{ignored[0]}", no_effect(name))])
        return self

    @classmethod
    def parse(cls, raw: Mapping[str, Any], where: str = "models") -> Self:
        """Validate `raw`.

        Raises:
            ConfigError: an unknown model, or an invalid key or value.
        """
        return parse(cls, raw, where)

    def of(self, name: str) -> Hyperparameters:
        """The settings of one model.

        Raises:
            ConfigError: no model has this name.
        """
        return parse(*self._settings(name), f"models.{name}")

    def _settings(self, name: str) -> tuple[type[Hyperparameters], dict[str, Any]]:
        kind = Hyperparameters if name == "default" else MODELS[name].settings
        return kind, {**self.raw("default"), **self.raw(name)}

    def raw(self, name: str) -> dict[str, Any]:
        """What is configured for a model itself, without `default`."""
        return self.root.get(name, {})

    def override(self, name: str, settings: Mapping[str, Any]) -> Self:
        """These settings, with some of one model replaced."""
        return self.parse({**self.root, name: {**self.raw(name), **settings}})


class ConfiguredModel(StrictModel):
    """A model by name with its hyper-parameters, of the type of that model."""

    model: ModelName
    hyperparameters: SerializeAsAny[Hyperparameters]

    @model_validator(mode="before")
    @classmethod
    def _own_type(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(raw.get("hyperparameters"), Mapping):
            return raw
        own = MODELS[str(raw.get("model"))].settings
        return {**raw, "hyperparameters": parse_section(own, raw["hyperparameters"], "hyperparameters")}
