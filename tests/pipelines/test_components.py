"""Every component compiles on its own, imports nothing heavy, and has an up-to-date README."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")

from kfp import compiler

from components.__main__ import FOLDER, index, load, names, readme

ROOT = FOLDER.parent
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
SHOWN = {"system.Metrics", "system.ClassificationMetrics", "system.Markdown", "system.HTML"}


@pytest.fixture(params=names())
def name(request):
    return request.param


def test_component_compiles_on_its_own(name, tmp_path):
    compiler.Compiler().compile(load(name), str(tmp_path / "component.yaml"))
    spec = next(yaml.safe_load_all((tmp_path / "component.yaml").read_text()))
    assert spec["pipelineInfo"]["name"] == name.replace("_", "-")
    (executor,) = spec["deploymentSpec"]["executors"].values()
    assert "python" in executor["container"]["image"]


def test_component_descriptions_are_sentences(name):
    spec = load(name).component_spec
    assert spec.description
    assert spec.description.split("\n")[0].endswith((".", ":"))
    for each, its in {**(spec.inputs or {}), **(spec.outputs or {})}.items():
        if each != "Output":  # a return value has no name, so no description
            assert its.description, each
            assert its.description.strip().endswith("."), each
            assert its.description.strip()[0].isupper() or its.description.strip()[0].isdigit(), each


def test_what_a_component_imports_when_it_runs_exists(name):
    tree = ast.parse((FOLDER / name / "component.py").read_text())
    inner = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.col_offset]
    assert inner, "ctrloom is imported where the component runs"
    for node in inner:
        for alias in node.names:
            module = importlib.import_module(node.module)
            assert hasattr(module, alias.name) or importlib.import_module(f"{node.module}.{alias.name}")


def test_readme_matches_the_component(name):
    assert (FOLDER / name / "README.md").read_text() == readme(name), "run `make compile`"


def test_the_table_of_components_has_all_of_them():
    assert (FOLDER / "README.md").read_text() == index(), "run `make compile`"


def test_no_component_loads_anything_heavy():
    code = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from components.__main__ import load, names\n"
        "[load(name) for name in names()]\n"
        "print(*sorted({'torch', 'numpy', 'pandas', 'pyarrow', 'duckdb', 'ctrloom'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_an_evaluation_is_shown_in_the_ui():
    outputs = load("evaluate").component_spec.outputs
    assert {its.type.partition("@")[0] for its in outputs.values()} >= SHOWN


def test_no_component_leaves_an_artifact_without_content(name):
    assert ".log_" not in (FOLDER / name / "component.py").read_text(), "show it with `display`"


def test_component_folders_are_complete():
    for folder in (path for path in FOLDER.iterdir() if path.is_dir() and path.name[0] not in "_."):
        assert {path.name for path in Path(folder).iterdir() if path.name != "__pycache__"} == {
            "__init__.py",
            "component.py",
            "README.md",
        }, folder.name
