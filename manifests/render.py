"""Write manifests for `kubectl apply`: overlays, the training on several GPUs, and the pipelines.

`make manifests`, or `python manifests/render.py <folder>`.
"""

import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from ctrloom.runners import compiled

HERE = Path(__file__).parent
NAMESPACE = "kubeflow"
OVERLAYS = sorted(path.parent.name for path in HERE.glob("overlays/*/kustomization.yaml"))
API = "pipelines.kubeflow.org/v2beta1"


def overlay(name: str) -> list[dict[str, Any]]:
    """Resources of an overlay.

    Raises:
        ValueError: kubectl is missing, or refuses the overlay.
    """
    return built(HERE / "overlays" / name)


def trainer() -> list[dict[str, Any]]:
    """Resources of a training on several GPUs.

    Raises:
        ValueError: kubectl is missing, or refuses them.
    """
    return built(HERE / "trainer")


def spark() -> list[dict[str, Any]]:
    """Resources of a job of the Spark operator.

    Raises:
        ValueError: kubectl is missing, or refuses them.
    """
    return built(HERE / "spark")


def serving() -> list[dict[str, Any]]:
    """Resources of a server of the champion.

    Raises:
        ValueError: kubectl is missing, or refuses them.
    """
    return built(HERE / "serving")


def built(folder: Path) -> list[dict[str, Any]]:
    """Resources that `kubectl kustomize` builds from a folder.

    Raises:
        ValueError: kubectl is missing, or refuses it.
    """
    if not (kubectl := shutil.which("kubectl")):
        raise ValueError(
            "kubectl is not on the PATH: overlays are built with `kubectl kustomize` (1.27 or newer)"
        )
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{folder}: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def pipelines(namespace: str = NAMESPACE) -> list[dict[str, Any]]:
    """Every bundled pipeline and its version, as resources for a KFP that stores them in Kubernetes."""
    resources: list[dict[str, Any]] = []
    for name in compiled.names():
        spec, platform = compiled.read(name)
        pipeline = spec["pipelineInfo"]["name"]
        release = re.sub(r"[^a-z0-9.-]+", "-", version("ctrloom"))
        metadata = {
            "name": pipeline,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "ctrloom"},
        }
        its = {"pipelineName": pipeline, "versionName": release, "pipelineSpec": spec}
        if platform:
            its["platformSpec"] = platform
        described = {
            "displayName": pipeline,
            "description": spec["pipelineInfo"].get("description", pipeline),
        }
        resources += [
            {"apiVersion": API, "kind": "Pipeline", "metadata": metadata, "spec": described},
            {
                "apiVersion": API,
                "kind": "PipelineVersion",
                "metadata": {**metadata, "name": f"{pipeline}-{release}"},
                "spec": its,
            },
        ]
    return resources


def main(folder: Path) -> None:
    """Write one file per overlay, one per standalone job, and one with all pipelines."""
    folder.mkdir(parents=True, exist_ok=True)
    everything = {
        **{name: overlay(name) for name in OVERLAYS},
        "trainer": trainer(),
        "spark": spark(),
        "serving": serving(),
        "pipelines": pipelines(),
    }
    for name, resources in everything.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(resources, sort_keys=False), encoding="utf-8")
        print(folder / f"{name}.yaml", f"{len(resources)} resources")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except ValueError as error:
        sys.exit(f"make manifests: {error}")
