"""Where runs are shown next to each other: MLflow, TensorBoard, or both; neither by default."""

import re
from typing import Annotated

from pydantic import Field, field_validator

from ctrloom.config.base import StrictModel
from ctrloom.config.url_secrets import hidden

SCHEMES = ("http://", "https://", "sqlite:///")
Seconds = Annotated[float, Field(gt=0, le=86_400)]
NO_CONTROL = re.compile(r"[^\x00-\x1f\x7f]+")


class MlflowConfig(StrictModel):
    """An MLflow server or database, and what it receives.

    Credentials are MLflow's: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.
    Those in `uri` are hidden, see `config.url_secrets`.
    """

    uri: Annotated[str, Field(max_length=2_000)] | None = None  # None: MLFLOW_TRACKING_URI
    experiment: Annotated[str, Field(min_length=1, max_length=250)] = "ctrloom"
    bundle: bool = True  # also log the bundle as a model
    registered_model: Annotated[str, Field(min_length=1, max_length=250)] | None = None

    @field_validator("uri")
    @classmethod
    def _can_be_opened(cls, uri: str | None) -> str | None:
        if uri is None:
            return None
        if not uri.startswith(SCHEMES) or uri in SCHEMES or re.search(r"[\x00-\x20\x7f]", uri):
            raise ValueError(
                f"must be the address of a server ({SCHEMES[1]}...) or a database file ({SCHEMES[2]}...)"
            )
        return hidden(uri)

    @field_validator("experiment", "registered_model")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        if name is not None and (name != name.strip() or not NO_CONTROL.fullmatch(name)):
            raise ValueError("must be a name without control characters, or spaces at its ends")
        if name is not None and re.search(r"[/:]", name):
            raise ValueError("must not contain / or :, which are separators in MLflow")
        return name


class TrackingConfig(StrictModel):
    """The trackers of a run, and how long they may take at its end."""

    mlflow: MlflowConfig | None = None
    tensorboard: Annotated[str, Field(min_length=1, max_length=2_000)] | None = None  # folder, gs:// or s3://
    seconds: Seconds = 120

    @field_validator("tensorboard")
    @classmethod
    def _is_a_place(cls, folder: str | None) -> str | None:
        if folder is not None and not NO_CONTROL.fullmatch(folder):
            raise ValueError("must be a path without control characters")
        return folder

    @property
    def is_on(self) -> bool:
        """True if there is a tracker."""
        return bool(self.mlflow or self.tensorboard)
