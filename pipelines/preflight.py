"""The first step of every run in a cluster."""

from importlib.metadata import version

from kfp import dsl

from components.doctor.component import doctor


def preflight(store: str) -> dsl.PipelineTask:
    """Check what steps need, so that a run that cannot end fails early; left out on one machine."""
    return doctor(store=store, version=version("ctrloom"))
