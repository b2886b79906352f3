"""Compiled pipelines: read and modify the YAML that `make compile` writes."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import yaml

TRACKING = "comp-track"  # component of the step that only runs with trackers have
TUNING = ("comp-tune", "comp-collect-tuning")  # components of the steps that a run without tuning omits
# Components that read or write elsewhere
NOT_OF_THE_RUN = (TRACKING, "comp-fetch-bundle", "comp-batch-predict")
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


def for_one_machine(name: str, parameters: Mapping[str, Any] | None = None) -> str:
    """A pipeline without cluster settings: resources, environment, retries, and the preflight.

    With the parameters of a run, also without the steps that have nothing to do in it. Every step is cached,
    since the cache is of one run alone, except those that read or write elsewhere.
    """
    spec, _ = read(name)
    if parameters is not None:
        remove_idle(spec, parameters)
    for executor in spec["deploymentSpec"]["executors"].values():
        for key in ("resources", "env"):
            executor.get("container", {}).pop(key, None)
    for component in (spec["root"], *spec["components"].values()):
        component.get("dag", {}).get("tasks", {}).pop("doctor", None)
    for task in tasks(spec):
        task.pop("retryPolicy", None)
        if task["componentRef"]["name"] not in NOT_OF_THE_RUN:
            task["cachingOptions"] = {"enableCache": True}
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


def remove_idle(spec: dict[str, Any], parameters: Mapping[str, Any]) -> None:
    """Remove the steps that tune or track, and what others take from them, if there is nothing to do."""
    if not parameters.get("tuning") and set(TUNING) <= spec["components"].keys():
        _remove(spec["root"], spec["components"], set(TUNING))
    if not parameters.get("tracking") and TRACKING in spec["components"]:
        _remove(spec["root"], spec["components"], {TRACKING})


def _remove(component: dict[str, Any], components: dict[str, Any], removed: set[str]) -> None:
    """Remove tasks of some components from a DAG, loops over only those, and the inputs from both."""
    tasks = component["dag"]["tasks"]
    gone = {name for name, task in tasks.items() if _is_gone(task, components, removed)}
    for name in gone:
        del tasks[name]
    for task in tasks.values():
        task["dependentTasks"] = [name for name in task.get("dependentTasks", []) if name not in gone]
        given = task.get("inputs", {}).get("artifacts", {})
        for name in [name for name, its in given.items() if _producer(its) in gone]:
            del given[name]
            _forget(components[task["componentRef"]["name"]], name, components)


def _is_gone(task: dict[str, Any], components: dict[str, Any], removed: set[str]) -> bool:
    its = task["componentRef"]["name"]
    inner = components[its].get("dag", {}).get("tasks", {}).values()
    return its in removed or (bool(inner) and all(_is_gone(each, components, removed) for each in inner))


def _producer(source: dict[str, Any]) -> str:
    return str(source.get("taskOutputArtifact", {}).get("producerTask", ""))


def _forget(component: dict[str, Any], artifact: str, components: dict[str, Any]) -> None:
    """Remove an input artifact of a DAG, and those of the tasks inside that it is passed to."""
    if "dag" not in component:
        return
    del component["inputDefinitions"]["artifacts"][artifact]
    for task in component["dag"]["tasks"].values():
        given = task.get("inputs", {}).get("artifacts", {})
        for name in [name for name, its in given.items() if its.get("componentInputArtifact") == artifact]:
            del given[name]
            _forget(components[task["componentRef"]["name"]], name, components)
