"""When a challenger replaces the champion, and when a code change counts as a regression."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ctrloom.config.base import StrictModel
from ctrloom.config.types import Bootstrap, Count, Few, NotNegative, Positive, Seed


class PromotionGateConfig(StrictModel):
    """Thresholds of the promotion gate; all of them must be met.

    `require: better` (superiority): the confidence interval of the AUC difference must lie above
    `min_auc_gain`. `require: not_worse` (non-inferiority): it must lie above `-auc_margin`, which is enough
    for a model that was only refreshed on newer rows.
    """

    require: Literal["better", "not_worse"] = "better"
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_auc_gain: NotNegative = 0.0
    auc_margin: NotNegative = 0.001
    logloss_margin: NotNegative = 0.001  # upper bound of the interval of the logloss difference
    calibration_low: Positive = 0.9  # bounds of sum of probabilities / sum of labels
    calibration_high: Positive = 1.1
    calibration_error: Positive = 0.02  # maximum mean calibration error beyond chance
    min_auc: Annotated[float, Field(ge=0, lt=1)] = 0.5
    max_normalised_entropy: Positive = 1.0  # 1: no better than always predicting the click rate
    min_clicks: Count = 100  # minimum number of clicks, and of rows without a click
    bins: Few = 20
    bootstrap: Bootstrap = 2000
    seed: Seed = 0

    @model_validator(mode="after")
    def _bounds_are_apart(self) -> Self:
        if not self.calibration_low < self.calibration_high:
            raise ValueError("calibration_low: must be below calibration_high")
        return self
