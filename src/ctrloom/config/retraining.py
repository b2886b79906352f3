"""The configuration of a scheduled retraining."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ctrloom.config.base import StrictModel
from ctrloom.config.data import DataConfig
from ctrloom.config.engine import EngineConfig
from ctrloom.config.growth import GrowthConfig
from ctrloom.config.models.settings import Hyperparameters
from ctrloom.config.promotion_gate import PromotionGateConfig
from ctrloom.config.tracking import TrackingConfig
from ctrloom.config.types import NotNegative, Seeds, SomeBuckets


class TrainingConfig(StrictModel):
    """How the champion's architecture is trained on new rows; the search is not repeated.

    `warm` starts from the champion's weights and initialises new values; `cold` trains from scratch.
    """

    start: Literal["warm", "cold"] = "warm"
    seeds: Seeds = (0,)  # the best model on validation rows is kept
    settings: dict[str, Any] = Field(default_factory=dict)  # hyper-parameters; override those of the champion

    def over(self, champion: Hyperparameters) -> Hyperparameters:
        """The hyper-parameters of a training: those of the champion, with `settings` in their place.

        Raises:
            ConfigError: `settings` do not fit the champion's model.
        """
        settings = {**champion.model_dump(mode="json"), **self.settings}
        return type(champion).parse(settings, "training.settings")


class DriftConfig(StrictModel):
    """Alarm thresholds of the drift report; an alarm does not stop the pipeline."""

    buckets: SomeBuckets = 20  # buckets of the population stability index
    stability_alarm: NotNegative = 0.25
    unseen_alarm: NotNegative = 0.1  # share of values
    label_rate_alarm: NotNegative = 0.25  # relative change


class RetrainingConfig(EngineConfig):
    """One scheduled retraining: data by day, a registry, and when the champion is replaced."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    registry: str | None = None  # on a cluster, can be a pipeline parameter instead
    data: DataConfig
    days: Annotated[int, Field(ge=1, le=36_500)] = 1  # length of the window, including its last day
    growth: GrowthConfig = GrowthConfig()
    training: TrainingConfig = TrainingConfig()
    drift: DriftConfig = DriftConfig()
    gate: PromotionGateConfig = PromotionGateConfig()
    tracking: TrackingConfig | None = None

    @model_validator(mode="after")
    def _newest_rows_are_known(self) -> Self:
        split = self.data.split
        if split.by != "time":
            raise ValueError(
                "data.split: champion and challenger are compared on the newest rows; set `by: time`, "
                "and give a column of kind timestamp"
            )
        for part in ("valid", "test"):
            if not getattr(split, part):
                raise ValueError(f"data.split.{part}: a retraining needs {part} rows; give a share")
        return self
