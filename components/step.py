"""Shared by all components."""

import os
from collections.abc import Callable
from typing import Any

from kfp import dsl

# Fixed when the pipeline is compiled. KFP's local runner requires "python" in the name.
IMAGE = os.environ.get("CTRLOOM_IMAGE", "ctrloom-python:0.1.0")
# KFP starts a component with a shell, which passes no signal on: Python replaces it, and stops on signals.
SIGNALLED = (
    "python3 -m kfp.dsl.executor_main",
    "exec python3 -m ctrloom.runners.executor kfp.dsl.executor_main",
)


def step(function: Callable[..., Any]) -> Any:
    """Make a component from a function; the image has ctrloom and kfp installed.

    Adds the descriptions of output artifacts from `Args`, where KFP reads only those of inputs.
    """
    from docstring_parser import parse

    made = dsl.component(function, base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
    container = made.component_spec.implementation.container
    container.command = [part.replace(*SIGNALLED) for part in container.command]
    described = {each.arg_name: each.description for each in parse(function.__doc__ or "").params}
    for name, output in (made.component_spec.outputs or {}).items():
        output.description = described.get(name)
    return made
