"""Environment variables that decide where training runs; an invalid value is an error that names it."""

import os

from ctrloom.config.base import ConfigError

DEVICES = ("auto", "cpu", "cuda")


def device_name() -> str:
    """The value of CTRLOOM_DEVICE; `auto` if it is not set.

    Raises:
        ConfigError: it is not a device.
    """
    name = os.environ.get("CTRLOOM_DEVICE", "auto")
    if name not in DEVICES:
        raise ConfigError(
            f"CTRLOOM_DEVICE: must be {', '.join(DEVICES)}, not {name!r}; CUDA_VISIBLE_DEVICES selects a GPU"
        )
    return name


def positive_int(variable: str) -> int:
    """A number of processes in the environment, such as WORLD_SIZE; 1 if it is not set.

    Raises:
        ConfigError: it is not a positive whole number.
    """
    text = os.environ.get(variable, "1")
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{variable}: must be a positive number of processes, got {text!r}")
    return int(text)
