"""Allowed imports between modules of the library, and forbidden functions."""

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctrloom import config

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "ctrloom"
MODULES = sorted(SOURCE.rglob("*.py"))
WIRING = sorted(path for folder in ("components", "pipelines") for path in (ROOT / folder).rglob("*.py"))

BOTTOM = {"config", "storage", "progress", "interruption", "memory"}
BASE = BOTTOM | {"schema", "architecture", "search_trace", "distributed"}
TRAINING = BASE | {"kernels", "data", "nn", "optim", "models", "metrics", "training"}
EVALUATION = TRAINING | {"methods", "tuning", "evaluation"}
# What each layer may import from the library. A module's layer is the longest of these prefixes of its name.
ALLOWED: dict[str, set[str]] = {
    "": {"api", "architecture", "config", "data.dataset", "serving.api"},  # ctrloom/__init__.py
    "api": EVALUATION | {"stages", "tracking", "runners"},
    **{name: BOTTOM - {name} for name in BOTTOM},
    "config": BOTTOM,
    "storage": BOTTOM,
    "interruption": {"interruption"},
    "memory": {"config.errors"},
    "schema": BOTTOM,
    "architecture": BOTTOM | {"schema"},
    "search_trace": BOTTOM | {"schema", "architecture"},
    "distributed": set(),
    "kernels": {"kernels"},
    "data": BOTTOM | {"schema", "data"},
    "nn": BASE | {"kernels", "nn"},
    "optim": BASE | {"kernels", "nn.sparse_rows", "optim"},
    "models": BASE | {"nn", "models"},
    "metrics": BASE | {"metrics"},
    "training": TRAINING,
    "methods": TRAINING | {"methods"},
    "tuning": TRAINING | {"tuning"},
    "evaluation": EVALUATION,
    "report": EVALUATION | {"report"},
    "serving": TRAINING | {"serving"},
    "tracking": EVALUATION | {"report", "serving.predictor", "tracking"},
    "doctor": BOTTOM | {"doctor"},
    "stages": EVALUATION | {"report", "serving", "stages"},
    "runners": EVALUATION | {"stages", "tracking", "runners"},
    "cli": {"*"},
    "cli.options": {"config.base"},
    "cli.doctor": BOTTOM | {"cli.options", "doctor"},
    "cli.cluster": BOTTOM | {"cli.options", "runners", "stages"},
    "cli.registry": BOTTOM | {"serving.registry"},
    "__main__": {"cli", "interruption"},
}
KNOWS_KFP = {
    "runners.containers",
    "runners.local",
    "runners.cluster",
    "runners.step_process",
    "runners.step_cache",
    "runners.step_order",
}
METHOD_MODULES = {  # every other module of methods/ may be shared
    str(config.METHODS[name].search).partition(":")[0].rpartition(".")[2] for name in config.METHODS
}


def name_of(path: Path) -> str:
    """`data.sources.text` for src/ctrloom/data/sources/text.py; a package is named without __init__."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> Iterator[str]:
    """Absolute names of all imported modules; `from a import b` gives a.b, which may be a name in a."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def begins(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def layer_of(name: str) -> str:
    return max((layer for layer in ALLOWED if begins(name, layer)), key=len, default="")


def violations(name: str, source: str) -> list[str]:
    """Imports of the library that are not allowed in the module `name`."""
    allowed = ALLOWED[layer_of(name)]
    own = [i.removeprefix("ctrloom.") for i in imported(ast.parse(source)) if begins(i, "ctrloom")]
    return [i for i in own if "*" not in allowed and not any(begins(i, prefix) for prefix in allowed)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_downward(path: Path) -> None:
    name = name_of(path)
    assert name == "" or layer_of(name), f"{name} has no layer: add its imports to ALLOWED"
    assert violations(name, path.read_text()) == []


def test_wrong_import_direction_is_found() -> None:
    assert violations("data.vocabulary.encode", "from ctrloom.models import build") == ["models.build"]
    assert violations("nn.mlp", "def f():\n    import ctrloom.training.loop") == ["training.loop"]
    assert violations("training.loop", "from ctrloom.evaluation.results import Results") == [
        "evaluation.results.Results"
    ]
    assert violations("evaluation.compare", "from ctrloom.training.history import Epoch") == []
    assert violations("training.loop", "from ctrloom import cli, storage") == ["cli"]


def test_library_has_no_import_cycles() -> None:
    names = {name_of(path): path for path in MODULES}
    edges = {
        name: {
            max((n for n in names if n and begins(i.removeprefix("ctrloom."), n)), key=len, default="")
            for i in imported(ast.parse(path.read_text()))
            if begins(i, "ctrloom")
        }
        - {"", name}
        for name, path in names.items()
    }
    done: set[str] = set()
    while ready := {name for name in edges if name not in done and edges[name] <= done}:
        done |= ready
    assert set(edges) - done == set()


@pytest.mark.parametrize("method", sorted(METHOD_MODULES))
def test_search_methods_do_not_import_each_other(method: str) -> None:
    names = imported(ast.parse((SOURCE / "methods" / f"{method}.py").read_text()))
    others = METHOD_MODULES - {method}
    assert [n for n in names if any(begins(n, f"ctrloom.methods.{other}") for other in others)] == []


def test_only_runners_import_kfp() -> None:
    users = {
        name_of(path)
        for path in MODULES
        if any(begins(i, "kfp") for i in imported(ast.parse(path.read_text())))
    }
    assert users <= KNOWS_KFP
    above = [i for path in MODULES for i in imported(ast.parse(path.read_text())) if begins(i, "components")]
    assert above == []


def at_module_scope(tree: ast.AST) -> Iterator[str]:
    """Modules imported at import time: everything outside of functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported(ast.Module([node], []))
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from at_module_scope(node)


def light(name: str) -> bool:
    top = name.split(".")[0]
    return top in sys.stdlib_module_names or top in ("kfp", "components", "pipelines")


@pytest.mark.skipif(not WIRING, reason="no components and pipelines yet")
@pytest.mark.parametrize("path", WIRING, ids=lambda path: str(path.relative_to(ROOT)))
def test_compiling_a_pipeline_loads_nothing_heavy(path: Path) -> None:
    assert [name for name in at_module_scope(ast.parse(path.read_text())) if not light(name)] == []


def test_heavy_import_is_found() -> None:
    text = "import os\nif True:\n    import torch\ndef f():\n    import numpy\nclass A:\n    import pandas\n"
    assert [n for n in at_module_scope(ast.parse(text)) if not light(n)] == ["torch", "pandas"]


def forbidden(source: str) -> list[str]:
    """Uses of pickle, of eval and exec, and of torch's pickled files."""
    tree = ast.parse(source)
    found = [
        i
        for i in imported(tree)
        if i.split(".")[0] in ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            pickled = called in ("torch.load", "torch.save", "np.load", "pd.read_pickle")
            if called in ("eval", "exec", "compile", "__import__") or pickled:
                found.append(called)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    assert forbidden(path.read_text()) == []
    assert "pickle" not in path.read_text()


def test_forbidden_calls_are_found() -> None:
    assert forbidden("import torch\ntorch.load('x')\nmodel.eval()\neval('1')") == ["torch.load", "eval"]
    assert forbidden("def f():\n    from pickle import loads") == ["pickle.loads"]


def test_files_stay_small() -> None:
    sizes = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in MODULES}
    assert statistics.median(sizes.values()) < 120
    assert {name: size for name, size in sizes.items() if size > 400} == {}
