"""Write the READMEs of the components from their specifications: `python -m components`."""

from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """All components, by their folders."""
    return sorted(path.parent.name for path in FOLDER.glob("*/component.py"))


def load(name: str) -> Any:
    """The KFP component of that name."""
    return getattr(import_module(f"components.{name}.component"), name)


def readme(name: str) -> str:
    """A component's description, inputs and outputs as Markdown."""
    from ctrloom.runners.placement import load_hardware

    spec = load(name).component_spec
    step = load_hardware().step(name)
    reused = f"{'is reused' if step.cached else 'is not reused'} by later runs ({step.because})"
    parts = [
        f"# {name}",
        spec.description.strip(),
        f"Runs on the profile `{step.profile}` of [hardware.yaml](../../src/ctrloom/config/hardware.yaml); "
        f"its result {reused}.",
        *_table("Inputs", spec.inputs or {}, "| | | default | |"),
        *_table("Outputs", {n: o for n, o in (spec.outputs or {}).items() if n != "Output"}, "| | | |"),
        "Written by `make compile` from [component.py](component.py).",
    ]
    return "\n\n".join(parts) + "\n"


def index() -> str:
    """Index of all components: profile, and whether later runs reuse the result."""
    from ctrloom.runners.placement import load_hardware

    hardware, rows = load_hardware(), []
    for name in names():
        step = hardware.step(name)
        summary = load(name).component_spec.description.strip().split("\n")[0]
        cached = f"{'yes' if step.cached else 'no'}: {step.because}"
        rows.append(f"| [{name}]({name}/README.md) | {summary} | {step.profile} | {cached} |")
    head = "| component | | profile | result reused |\n|---|---|---|---|"
    return "\n".join(
        [
            "# Components",
            "",
            f"{head}",
            *rows,
            "",
            "Written by `make compile`; see [Kubeflow](../docs/kubeflow.md).",
            "",
        ]
    )


def _table(title: str, specs: dict[str, Any], head: str) -> list[str]:
    rows = []
    for name, spec in specs.items():
        default = [_default(spec)] if "default" in head else []
        cells = [f"`{name}`", _kind(spec), *default, " ".join((spec.description or "").split())]
        rows.append(f"| {' | '.join(cells)} |")
    return [f"## {title}", "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows])] if rows else []


def _kind(spec: Any) -> str:
    kind = str(spec.type).removeprefix("system.").partition("@")[0]
    return f"list of {kind}" if getattr(spec, "is_artifact_list", False) else kind


def _default(spec: Any) -> str:
    return f"`{spec.default!r}`" if spec.optional and spec.default is not None else ""


if __name__ == "__main__":
    (FOLDER / "README.md").write_text(index(), encoding="utf-8")
    for each in names():
        (FOLDER / each / "README.md").write_text(readme(each), encoding="utf-8")
