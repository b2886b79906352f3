"""Hardware as configuration: writes nodes, retries, caching and environment into a compiled pipeline."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ctrloom.config.files import merged, read_yaml
from ctrloom.config.hardware import Environment, Hardware, Profile
from ctrloom.runners import compiled


def load_hardware(path: Path | None = None) -> Hardware:
    """The default hardware, overridden by the keys of the file `path`; null removes a key.

    Raises:
        ConfigError: the file cannot be read, or has a key or value that does not fit.
    """
    default = files("ctrloom.config") / "hardware.yaml"
    raw = yaml.safe_load(default.read_text(encoding="utf-8"))
    return Hardware.parse(_without_null(merged(raw, read_yaml(path) if path else {})), str(path or default))


def place(spec: dict[str, Any], platform: dict[str, Any], hardware: Hardware) -> None:
    """Write `hardware` into a compiled pipeline, replacing earlier settings.

    Raises:
        ConfigError: a component of the pipeline has no entry in `hardware.steps`.
    """
    executors, kubernetes = spec["deploymentSpec"]["executors"], {}
    profiles = {}
    for label, executor in executors.items():
        profile = profiles[label] = hardware.profiles[hardware.step(component_of(executor)).profile]
        executor["container"]["resources"] = _resources(profile)
        executor["container"]["env"] = _variables(profile, hardware.environment)
        kubernetes[label] = _on_kubernetes(profile, hardware.environment)
    for task in compiled.tasks(spec):
        label = spec["components"][task["componentRef"]["name"]].get("executorLabel")
        if label:
            task["retryPolicy"] = _retries(profiles[label])
            cached = hardware.step(component_of(executors[label])).cached
            task["cachingOptions"] = {"enableCache": True} if cached else {}
    platform.clear()
    platform["platforms"] = {"kubernetes": {"deploymentSpec": {"executors": kubernetes}}}


def component_of(executor: dict[str, Any]) -> str:
    """Name of the component that an executor of a compiled pipeline runs."""
    arguments = executor["container"]["args"]
    return str(arguments[arguments.index("--function_to_execute") + 1])


def _resources(profile: Profile) -> dict[str, Any]:
    resources: dict[str, Any] = {
        "resourceCpuRequest": profile.cpu.request,
        "resourceCpuLimit": profile.cpu.limit,
        "resourceMemoryRequest": profile.memory.request,
        "resourceMemoryLimit": profile.memory.limit,
    }
    if profile.accelerator:
        resources["accelerator"] = {
            "resourceType": profile.accelerator.type,
            "resourceCount": str(profile.accelerator.count),
        }
    return resources


def _variables(profile: Profile, environment: Environment) -> list[dict[str, str]]:
    found = dict(environment.variables)
    if profile.accelerator:
        found["CTRLOOM_DEVICE"] = "cuda"  # a step without a visible GPU fails at once
        if profile.accelerator.count > 1:
            found["CTRLOOM_PROCESSES"] = str(profile.accelerator.count)
    return [{"name": name, "value": value} for name, value in found.items()]


def _retries(profile: Profile) -> dict[str, Any]:
    return {
        "maxRetryCount": profile.retry.attempts,
        "backoffDuration": f"{profile.retry.backoff}s",
        "backoffFactor": float(profile.retry.factor),
        "backoffMaxDuration": f"{profile.retry_budget}s",
    }


def _on_kubernetes(profile: Profile, environment: Environment) -> dict[str, Any]:
    """Settings that KFP keeps outside the pipeline spec, under the platform `kubernetes`."""
    settings: dict[str, Any] = {"activeDeadlineSeconds": str(profile.timeout)}
    if profile.node_selector:
        settings["nodeSelector"] = {"labels": dict(profile.node_selector)}
    if profile.avoid:
        unlabelled = [{"key": label, "operator": "DoesNotExist"} for label in profile.avoid]
        settings["nodeAffinity"] = [{"matchExpressions": unlabelled}]
    if profile.tolerations:
        settings["tolerations"] = [taint.model_dump(exclude_none=True) for taint in profile.tolerations]
    if profile.shared_memory:
        settings["emptyDirMounts"] = [
            {
                "volumeName": "shared-memory",
                "mountPath": "/dev/shm",
                "medium": "Memory",
                "sizeLimit": profile.shared_memory,
            }
        ]
    if environment.secrets:
        settings["secretAsEnv"] = list(_secrets(environment))
    return settings


def _secrets(environment: Environment) -> Iterator[dict[str, Any]]:
    for secret in environment.secrets:
        keys = [{"secretKey": key, "envVar": name} for name, key in secret.variables.items()]
        named = {"secretNameParameter": {"runtimeValue": {"constant": secret.name}}}
        yield {"secretName": secret.name, **named, "keyToEnv": keys, "optional": False}


def _without_null(raw: Any) -> Any:
    if not isinstance(raw, dict):
        return raw
    return {key: _without_null(value) for key, value in raw.items() if value is not None}
