"""Compile every pipeline into the library, with the default hardware: `python -m pipelines`."""

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from kfp import compiler

COMPILED = Path(__file__).parents[1] / "src" / "ctrloom" / "runners"


def pipelines() -> dict[str, Any]:
    """All pipelines, by the name of the compiled file."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    modules = [import_module(f"pipelines.{name}") for name in names]
    return {name: its for module in modules for name, its in getattr(module, "PIPELINES", {}).items()}


def compiled(pipeline: Any) -> str:
    """A pipeline as YAML: the pipeline spec and the platform spec (Kubernetes settings)."""
    import yaml

    from ctrloom.runners.placement import load_hardware, place

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(file))
        spec, platform = yaml.safe_load(file.read_text(encoding="utf-8")), {}
    place(spec, platform, load_hardware())
    return "# Written by `make compile`.\n" + yaml.safe_dump_all([spec, platform], sort_keys=True)


if __name__ == "__main__":
    for name, pipeline in pipelines().items():
        (COMPILED / f"{name}.yaml").write_text(compiled(pipeline), encoding="utf-8")
