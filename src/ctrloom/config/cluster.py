"""A Kubeflow Pipelines installation, and how runs are started there."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ctrloom.config.base import StrictModel


class ClusterConfig(StrictModel):
    """Where runs go; each key can be given by a variable of the environment too, such as CTRLOOM_ENDPOINT.

    A token is no part of it: it comes from CTRLOOM_TOKEN, from `token_file`, or from the pod's own volume.
    """

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")] | None = None  # left out inside a cluster
    namespace: str | None = None  # of the user, where Kubeflow has several
    experiment: str = "ctrloom"
    service_account: str | None = None
    pipeline_root: str | None = None  # where artifacts go: gs://, s3://, minio://
    store: str | None = None  # where data sets go
    image: str | None = None
    gpu_image: str | None = None  # for steps with an accelerator; `image` where it is left out
    hardware: Path | None = None  # keys that differ from the hardware that pipelines are compiled with
    token_file: Path | None = None
    ca_certificate: Path | None = None
