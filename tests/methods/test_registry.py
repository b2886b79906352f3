"""Every registered search method can be imported, run as a pipeline, and is described."""

from pathlib import Path

import pytest

from ctrloom.config import METHODS
from ctrloom.config.catalog import resolve
from ctrloom.runners import compiled

DOCS = Path(__file__).parents[2] / "docs"
NAMES = list(METHODS.entries)


@pytest.mark.parametrize("name", NAMES)
def test_the_entry_of_a_method_is_consistent(name: str) -> None:
    method = METHODS[name]
    assert callable(resolve(method.search))
    assert method.config.model_fields["method"].annotation is not str, "a method has a name of its own"
    spec, _ = compiled.read(method.pipeline)
    tasks = {task["taskInfo"]["name"] for task in compiled.tasks(spec)}
    assert set(method.steps) <= tasks
    assert ("transfer" in compiled.declared(method.pipeline)) == method.transfers


def test_every_method_and_its_pipeline_are_documented() -> None:
    rows = [line for line in (DOCS / "kubeflow.md").read_text().splitlines() if line.startswith("| `")]
    for name in NAMES:
        (row,) = (row for row in rows if f"`{name}`" in row.split("|")[1])
        assert f"`{METHODS[name].pipeline}`" in row
