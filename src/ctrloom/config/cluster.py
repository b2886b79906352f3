"""A Kubeflow Pipelines installation and the settings of the runs started on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from ctrloom.config.base import StrictModel
from ctrloom.config.url_secrets import reject_secrets


class ClusterConfig(StrictModel):
    """Where runs are submitted; each key can also be set by an environment variable, e.g. CTRLOOM_ENDPOINT.

    The token is not a key: it is read from CTRLOOM_TOKEN, from `token_file`, or from the pod's volume.
    """

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")] | None = None  # unset inside a cluster
    namespace: str | None = None  # of the user, in multi-user Kubeflow
    experiment: str = "ctrloom"
    service_account: str | None = None
    pipeline_root: str | None = None  # where artifacts go: gs://, s3://, minio://
    store: str | None = None  # where data sets go
    image: str | None = None
    gpu_image: str | None = None  # for steps with an accelerator; default: `image`
    hardware: Path | None = None  # overrides of the hardware that pipelines are compiled with
    token_file: Path | None = None
    ca_certificate: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_secrets(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping):
            reject_secrets(raw)
        return raw
