"""Loads a bundle for MLflow: `load_model(uri).predict(rows)` then gives what `ctrloom predict` writes."""

from pathlib import Path
from typing import Any

import numpy as np

from ctrloom.serving.predictor import Predictor


class BundleModel:
    """A bundle with the method that MLflow calls."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """Probabilities (N,) of raw rows: a DataFrame, or whatever else `Predictor.predict` takes.

        Raises:
            DataError: a row is malformed, or a column is absent.
            ValueError: there are `params`, of which the model has none.
        """
        if params:
            raise ValueError(f"params: this model has none, but got {', '.join(params)}")
        return self.predictor.predict(model_input)


def _load_pyfunc(path: str) -> BundleModel:
    """Called by MLflow with the folder of the bundle."""
    return BundleModel(Predictor.load(Path(path)))
