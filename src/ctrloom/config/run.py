"""The configuration of one run of the whole pipeline."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ctrloom.config.data import DataConfig
from ctrloom.config.models import BaselineName, Hyperparameters, ModelName, TransferName
from ctrloom.config.search import AutoFISConfig, SearchConfig, search_config
from ctrloom.config.types import SPLITS, Count, Split
from ctrloom.config.vocabulary import VocabularyConfig
from ctrloom.section import Section


class EvaluationConfig(Section):
    """How models are compared."""

    base: str = "fm"  # the model that every other one is tested against
    bootstrap: Count = 2000
    bins: Count = 20
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    seed: int = 0
    truth: str | None = None  # synthetic data: file with the planted interactions, to compare with


class Expected(Section):
    """Sizes that a data set should have when the public files are whole, and who published them."""

    fields: Count
    features: Count | None = None  # ids of all fields, as the source counts them
    rows: dict[Literal[Split, "all"], Count] = Field(default_factory=dict)
    source: str


class RunConfig(Section):
    """One run of the whole pipeline.

    `searches` holds settings per method, for files that several runs extend: `search` takes those of its
    method and overrides them.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    data: DataConfig
    vocabulary: VocabularyConfig = VocabularyConfig()
    search: SearchConfig = AutoFISConfig()
    searches: dict[str, dict[str, Any]] = Field(default_factory=dict)
    models: dict[Literal["default", ModelName], dict[str, Any]] = Field(default_factory=dict)
    baselines: tuple[BaselineName, ...] = ("lr", "fm", "fwfm", "fnn", "deepfm", "ipnn")
    transfer: tuple[TransferName, ...] = ("ipnn", "deepfm")
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    evaluation: EvaluationConfig = EvaluationConfig()
    expected: Expected | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_its_method(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or not isinstance(search := raw.get("search", {}), Mapping):
            return raw
        method, searches = search.get("method", "autofis"), raw.get("searches") or {}
        own = searches.get(method) if isinstance(searches, Mapping) else None
        graph = {} if method != "autopi" or "transfer" in raw else {"transfer": ()}
        return {**raw, **graph, "search": {"method": method, **(own or {}), **search}}

    @model_validator(mode="after")
    def _settings_exist(self) -> Self:
        for name in self.models:
            Hyperparameters.of(self.models, name)
        for method, settings in self.searches.items():
            search_config({**settings, "method": method}, f"searches.{method}")
        return self

    @model_validator(mode="after")
    def _can_be_evaluated(self) -> Self:
        """Say now what would otherwise fail when everything is trained."""
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: a seed stands twice; its second training would be the first over again")
        if self.search.method == "autopi" and self.transfer:
            raise ValueError(
                "transfer: AutoPI finds a graph of operators, which no other model can take; use []"
            )
        names = [*self.baselines, self.search.base, *(f"{name}-transfer" for name in self.transfer)]
        if self.evaluation.base not in names:
            raise ValueError(
                f"evaluation.base: {self.evaluation.base!r} is not trained; choose from {', '.join(names)}"
            )
        for split in SPLITS[1:]:
            share, start = getattr(self.data.split, split), getattr(self.data.split, f"{split}_from", None)
            if not getattr(self.data.files, split) and share == 0 and start is None:
                raise ValueError(f"data.split.{split}: a run needs {split} rows; give a share, or files")
        return self
