"""Compiled pipelines: read and modify the YAML that `make compile` writes."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # safe too, and ten times as fast


def read(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline spec and the platform spec (Kubernetes settings) of a bundled pipeline."""
    text = (files("ctrloom.runners") / f"{name}.yaml").read_text(encoding="utf-8")
    spec, *platform = yaml.load_all(text, Loader=LOADER)
    return spec, platform[0] if platform else {}


def declared(name: str) -> dict[str, Any]:
    """The parameters of a pipeline with their types and defaults."""
    spec, _ = read(name)
    return dict(spec["root"].get("inputDefinitions", {}).get("parameters", {}))


def for_one_machine(name: str) -> str:
    """A pipeline without cluster settings: resources, environment, retries, and the preflight."""
    spec, _ = read(name)
    for executor in spec["deploymentSpec"]["executors"].values():
        for key in ("resources", "env"):
            executor.get("container", {}).pop(key, None)
    for component in (spec["root"], *spec["components"].values()):
        component.get("dag", {}).get("tasks", {}).pop("doctor", None)
    for task in tasks(spec):
        task.pop("retryPolicy", None)
        task["dependentTasks"] = [name for name in task.get("dependentTasks", []) if name != "doctor"]
    return yaml.safe_dump(spec, sort_keys=False)


def tasks(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All tasks of a pipeline, including nested pipelines, branches and loops."""
    for component in (spec["root"], *spec.get("components", {}).values()):
        yield from component.get("dag", {}).get("tasks", {}).values()


def names() -> list[str]:
    """Names of the bundled pipelines."""
    there = (entry.name for entry in files("ctrloom.runners").iterdir())
    return sorted(name.removesuffix(".yaml") for name in there if name.endswith(".yaml"))


def use_images(spec: dict[str, Any], image: str | None, gpu_image: str | None = None) -> None:
    """Replace the image of every step; `gpu_image` is for those with an accelerator."""
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor.get("container", {})
        its = gpu_image or image if "accelerator" in container.get("resources", {}) else image
        if container and its:
            container["image"] = its


def forget_caching(spec: dict[str, Any]) -> None:
    """Disable caching of every step."""
    for task in tasks(spec):
        task["cachingOptions"] = {}
