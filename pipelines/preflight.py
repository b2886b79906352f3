"""The first step of every run in a cluster."""

from importlib.metadata import version

from kfp import dsl

from components.doctor.component import doctor


def preflight(store: str) -> dsl.PipelineTask:
    """Check what the steps need, so that a run fails early; removed in local runs."""
    return doctor(store=store, version=version("ctrloom"))
