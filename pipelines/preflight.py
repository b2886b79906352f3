"""The first step of every run in a cluster."""

from importlib.metadata import version

from kfp import dsl

from components.doctor.component import doctor
from pipelines.hardware import place


def preflight(store: str) -> dsl.PipelineTask:
    """Check what steps need, so that a run that cannot end fails early; left out on one machine."""
    return place(doctor(store=store, version=version("ctrloom")))
