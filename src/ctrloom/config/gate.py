"""When a challenger replaces the champion, and when a change of the code counts as a regression."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ctrloom.config.base import StrictModel
from ctrloom.config.types import Count, NotNegative, Positive


class GateConfig(StrictModel):
    """Thresholds of the gate; every one of them must be met.

    `require: better` wants evidence that the challenger ranks better than the champion: the interval of the
    AUC difference lies above `min_auc_gain`. `require: not_worse` wants evidence that it does not rank worse:
    the interval lies above `-auc_margin`, which is what a model that was merely refreshed can show.
    """

    require: Literal["better", "not_worse"] = "better"
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_auc_gain: NotNegative = 0.0
    auc_margin: NotNegative = 0.001
    logloss_margin: NotNegative = 0.001  # the interval of the logloss difference must lie below it
    calibration_low: Positive = 0.9  # bounds of the sum of probabilities over the sum of labels
    calibration_high: Positive = 1.1
    calibration_error: Positive = 0.02  # most that probabilities may be off on average, beyond chance
    min_auc: Annotated[float, Field(ge=0, lt=1)] = 0.5
    max_normalised_entropy: Positive = 1.0  # 1 is as good as always predicting the click rate
    min_clicks: Count = 100  # fewer clicks, or fewer rows without one, are too little evidence
    bins: Count = 20
    bootstrap: Count = 2000
    seed: int = 0

    @model_validator(mode="after")
    def _bounds_are_apart(self) -> Self:
        if not self.calibration_low < self.calibration_high:
            raise ValueError("calibration_low: must be below calibration_high")
        return self
