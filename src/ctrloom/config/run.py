"""The configuration of one run of the whole pipeline."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ctrloom.config.base import StrictModel
from ctrloom.config.data import DataConfig
from ctrloom.config.engine import EngineConfig
from ctrloom.config.models import BaselineName, Hyperparameters, ModelName, TransferName
from ctrloom.config.search import AutoFISConfig, SearchConfig, search_config
from ctrloom.config.types import SPLITS, Count, Split
from ctrloom.config.vocabulary import VocabularyConfig


class EvaluationConfig(StrictModel):
    """How models are compared."""

    base: str = "fm"  # the model that every other one is tested against
    bootstrap: Count = 2000
    bins: Count = 20
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    seed: int = 0
    truth: str | None = None  # synthetic data: file with the planted interactions, to compare with


class Expected(StrictModel):
    """Sizes that a data set should have when the public files are whole, and who published them."""

    fields: Count
    features: Count | None = None  # ids of all fields, as the source counts them
    rows: dict[Literal[Split, "all"], Count] = Field(default_factory=dict)
    source: str


class Study(EngineConfig):
    """What a run and a comparison have in common: data, their engine, settings per model and method, seeds.

    `searches` holds settings per method, for files that several others extend.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    data: DataConfig
    vocabulary: VocabularyConfig = VocabularyConfig()
    searches: dict[str, dict[str, Any]] = Field(default_factory=dict)
    models: dict[Literal["default", ModelName], dict[str, Any]] = Field(default_factory=dict)
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    evaluation: EvaluationConfig = EvaluationConfig()
    expected: Expected | None = None

    @model_validator(mode="after")
    def _settings_exist(self) -> Self:
        for name in self.models:
            Hyperparameters.of(self.models, name)
        for method, settings in self.searches.items():
            search_config({**settings, "method": method}, f"searches.{method}")
        return self

    @model_validator(mode="after")
    def _has_all_splits(self) -> Self:
        """Say now what would otherwise fail when everything is trained."""
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: a seed stands twice; its second training would be the first over again")
        for split in SPLITS[1:]:
            share, start = getattr(self.data.split, split), getattr(self.data.split, f"{split}_from", None)
            if not getattr(self.data.files, split) and share == 0 and start is None:
                raise ValueError(f"data.split.{split}: a run needs {split} rows; give a share, or files")
        return self


def of_its_method(search: Any, searches: Any) -> Any:
    """A raw `search` section on top of what `searches` says of its method; AutoFIS when it names none."""
    if not isinstance(search, Mapping):
        return search
    method = search.get("method", "autofis")
    own = searches.get(method) if isinstance(searches, Mapping) else None
    return {"method": method, **(own or {}), **search}


class RunConfig(Study):
    """One run of the whole pipeline."""

    search: SearchConfig = AutoFISConfig()
    baselines: tuple[BaselineName, ...] = ("lr", "fm", "fwfm", "fnn", "deepfm", "ipnn")
    transfer: tuple[TransferName, ...] = ("ipnn", "deepfm")

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        search = of_its_method(raw.get("search", {}), raw.get("searches"))
        graph = isinstance(search, Mapping) and search["method"] == "autopi"
        return {**raw, **({"transfer": (), **raw} if graph else {}), "search": search}

    @model_validator(mode="after")
    def _can_be_evaluated(self) -> Self:
        if self.search.method == "autopi" and self.transfer:
            raise ValueError(
                "transfer: AutoPI finds a graph of operators, which no other model can take; use []"
            )
        names = [*self.baselines, self.search.base, *(f"{name}-transfer" for name in self.transfer)]
        if self.evaluation.base not in names:
            raise ValueError(
                f"evaluation.base: {self.evaluation.base!r} is not trained; choose from {', '.join(names)}"
            )
        return self
