"""Preflight checks of the environment of a run."""

from ctrloom.doctor.checks import Check, State
from ctrloom.doctor.endpoint import endpoint
from ctrloom.doctor.machine import disk, gpu
from ctrloom.doctor.report import as_json, as_markdown, failed, show
from ctrloom.doctor.software import image, packages
from ctrloom.doctor.store import store

__all__ = [
    "Check",
    "State",
    "as_json",
    "as_markdown",
    "disk",
    "endpoint",
    "failed",
    "gpu",
    "image",
    "packages",
    "show",
    "store",
]
