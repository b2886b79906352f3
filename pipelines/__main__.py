"""Compile every pipeline to the YAML that its module names as COMPILED: `python -m pipelines`."""

from importlib import import_module
from pathlib import Path

from kfp import compiler

for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
    module = import_module(f"pipelines.{path.stem}")
    if hasattr(module, "COMPILED"):
        compiler.Compiler().compile(getattr(module, path.stem), str(module.COMPILED))
