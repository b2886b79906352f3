"""The compiled pipeline is what the sources say, and means the same on a laptop as on a cluster."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPONENTS = sorted(path.parent.name for path in (ROOT / "components").glob("*/component.py"))


PIPELINES = ("search_and_retrain", "compare")


def compiled(name):
    return yaml.safe_load((ROOT / "src/ctrloom/pipelines" / f"{name}.yaml").read_text())


@pytest.fixture(scope="module", params=PIPELINES)
def spec(request):
    return compiled(request.param)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", PIPELINES)
def test_committed_yaml_is_what_the_source_compiles_to(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from importlib import import_module

    from kfp import compiler

    module = import_module(f"pipelines.{name}")
    compiler.Compiler().compile(getattr(module, name), str(tmp_path / "now.yaml"))
    assert (tmp_path / "now.yaml").read_text() == module.COMPILED.read_text(), "run `make compile`"


def executors(spec):
    return {name.removeprefix("exec-").replace("-", "_") for name in spec["deploymentSpec"]["executors"]}


def test_every_component_is_in_a_pipeline():
    used = {re.sub(r"(_\d+)+$", "", name) for pipeline in PIPELINES for name in executors(compiled(pipeline))}
    assert used == set(COMPONENTS)


def test_steps_name_an_image_that_the_local_runner_takes_and_install_nothing(spec):
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor["container"]
        assert "python" in container["image"]
        assert "pip install" not in " ".join(container["command"])


def graphs(spec):
    """The tasks of the pipeline and of every pipeline, branch and loop inside it."""
    yield spec["root"]["dag"]["tasks"], spec["root"]
    for component in spec["components"].values():
        if "dag" in component:
            yield component["dag"]["tasks"], component


def test_pipeline_stays_in_the_subset_that_runs_alike_everywhere(spec):
    """What KFP's local runner is known to get wrong silently: conditions and loops over tasks' parameters.

    Conditions and loops depend on parameters of the pipeline alone, and inside them only artifacts come
    from other tasks.
    """
    for tasks, _ in graphs(spec):
        for name, task in tasks.items():
            for parameter, source in task.get("inputs", {}).get("parameters", {}).items():
                assert "taskOutputParameter" not in source, f"{name}: {parameter}"
            assert "artifactIterator" not in task, name
            assert task.get("triggerPolicy", {}).get("strategy") in (None, "TRIGGER_STRATEGY_UNSPECIFIED"), (
                name
            )
            condition = task.get("triggerPolicy", {}).get("condition", "")
            compared = re.findall(r"inputs\.parameter_values\['([^']+)'\]", condition)
            assert all(parameter.startswith("pipelinechannel--method") for parameter in compared), condition


def test_every_input_is_described_for_the_ui(spec):
    described = {name: c for name, c in spec["components"].items() if "executorLabel" in c}
    for name, component in {**described, "pipeline": spec["root"]}.items():
        for kind in component["inputDefinitions"].values():
            for parameter, definition in kind.items():
                assert definition.get("description"), f"{name}: {parameter}"
