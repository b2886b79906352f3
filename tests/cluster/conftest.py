"""A cluster for tests: `make test-cluster` with CTRLOOM_ENDPOINT and the current context of kubectl.

The other settings are those of `ctrloom submit`: CTRLOOM_STORE (a bucket that this machine and the pods can
reach, with credentials in the environment), CTRLOOM_PIPELINE_ROOT, CTRLOOM_IMAGE, CTRLOOM_SERVICE_ACCOUNT,
CTRLOOM_NAMESPACE, and CTRLOOM_HARDWARE, by default that of the overlay `local`.
"""

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from on_cluster import Cluster

HARDWARE = Path(__file__).parents[2] / "manifests" / "overlays" / "local" / "hardware.yaml"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster, with a new folder in the store."""
    if not os.environ.get("CTRLOOM_ENDPOINT"):
        pytest.skip("CTRLOOM_ENDPOINT names no cluster")
    if missing := [name for name in ("CTRLOOM_STORE", "CTRLOOM_PIPELINE_ROOT") if not os.environ.get(name)]:
        pytest.fail(
            f"{missing[0]} is not set: tests of a cluster need a bucket for data and one for artifacts"
        )
    namespace = os.environ.get("CTRLOOM_NAMESPACE", "kubeflow")
    if not (kubectl := shutil.which("kubectl")):
        pytest.fail("kubectl is not on the PATH")
    subprocess.run([kubectl, "get", "pods", "--namespace", namespace], check=True, capture_output=True)
    return Cluster(
        folder=tmp_path_factory.mktemp("cluster"),
        store=f"{os.environ['CTRLOOM_STORE'].rstrip('/')}/test-{uuid.uuid4().hex[:8]}",
        root=os.environ["CTRLOOM_PIPELINE_ROOT"].rstrip("/"),
        namespace=namespace,
        hardware=os.environ.get("CTRLOOM_HARDWARE", str(HARDWARE)),
    )
