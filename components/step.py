"""What every component has in common."""

import os
from collections.abc import Callable
from typing import Any

from kfp import dsl

# Fixed when the pipeline is compiled. The word "python" in the name tells KFP's local runner what it can run.
IMAGE = os.environ.get("CTRLOOM_IMAGE", "ctrloom-python:0.1.0")


def step(function: Callable[..., Any]) -> Any:
    """Make a component of a function; the image has ctrloom and kfp installed.

    Its docstring describes artifacts that it makes among the arguments, where KFP looks for inputs alone.
    """
    from docstring_parser import parse

    made = dsl.component(function, base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
    described = {each.arg_name: each.description for each in parse(function.__doc__ or "").params}
    for name, output in (made.component_spec.outputs or {}).items():
        output.description = described.get(name)
    return made
