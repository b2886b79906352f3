"""Hardware as configuration: what `hardware.yaml` says of a step becomes part of the compiled pipeline."""

import os
from functools import cache
from pathlib import Path
from typing import Any

from kfp import dsl, kubernetes

FILE = Path(os.environ.get("CTRLOOM_HARDWARE", Path(__file__).with_name("hardware.yaml")))


@cache
def hardware() -> Any:
    """The configuration; CTRLOOM_HARDWARE names another file than `hardware.yaml`.

    Raises:
        ConfigError: the file cannot be read, or does not fit.
    """
    from ctrloom.config.hardware import Hardware
    from ctrloom.config_file import read_yaml

    return Hardware.parse(read_yaml(FILE), str(FILE))


def place(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Give a step the node, retries, timeout and caching that the configuration has for its component.

    Raises:
        ValueError: the configuration does not have it.
    """
    name = task.component_spec.name.replace("-", "_")
    step = hardware().steps.get(name)
    if step is None:
        raise ValueError(
            f"{FILE}: steps: has no {name!r}; say which profile it takes and whether it is cached"
        )
    profile = hardware().profiles[step.profile]
    _put(task, profile)
    again = profile.retry
    task.set_retry(again.attempts, f"{again.backoff}s", again.factor, f"{again.longest}s")
    kubernetes.set_timeout(task, profile.timeout)
    return task.set_caching_options(step.cached)


def _put(task: dsl.PipelineTask, profile: Any) -> None:
    """Resources of a step, and the nodes that it may and may not run on."""
    task.set_cpu_request(profile.cpu.request).set_cpu_limit(profile.cpu.limit)
    task.set_memory_request(profile.memory.request).set_memory_limit(profile.memory.limit)
    for label, value in profile.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    if profile.avoid:
        unlabelled = [{"key": label, "operator": "DoesNotExist"} for label in profile.avoid]
        kubernetes.add_node_affinity(task, match_expressions=unlabelled)
    for taint in profile.tolerations:
        kubernetes.add_toleration(task, taint.key, taint.operator, taint.value, taint.effect)
    if profile.shared_memory:
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", "Memory", profile.shared_memory)
    if profile.accelerator:
        task.set_accelerator_type(profile.accelerator.type).set_accelerator_limit(profile.accelerator.count)
        task.set_env_variable("CTRLOOM_DEVICE", "cuda")  # where there is none, the step fails at once
        if profile.accelerator.count > 1:
            task.set_env_variable("CTRLOOM_PROCESSES", str(profile.accelerator.count))
