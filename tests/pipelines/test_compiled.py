"""Compiled pipelines match their sources, and suit both the local runner and a cluster."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPONENTS = sorted(path.parent.name for path in (ROOT / "components").glob("*/component.py"))


PIPELINES = sorted(path.stem for path in (ROOT / "src/ctrloom/runners").glob("*.yaml"))


def compiled(name):
    return next(yaml.safe_load_all((ROOT / "src/ctrloom/runners" / f"{name}.yaml").read_text()))


@pytest.fixture(scope="module", params=PIPELINES)
def spec(request):
    return compiled(request.param)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", PIPELINES)
def test_committed_yaml_matches_its_source(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from pipelines.__main__ import COMPILED, compiled, pipelines

    assert set(pipelines()) == set(PIPELINES), "run `make compile`"
    assert compiled(pipelines()[name]) == (COMPILED / f"{name}.yaml").read_text(), "run `make compile`"


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


def test_signals_reach_every_step(spec):
    for executor in spec["deploymentSpec"]["executors"].values():
        shell = executor["container"]["command"][2]
        assert " exec python3 -m ctrloom.runners.executor kfp.dsl.executor_main " in shell


def test_every_input_is_described_for_the_ui(spec):
    described = {name: c for name, c in spec["components"].items() if "executorLabel" in c}
    for name, component in {**described, "pipeline": spec["root"]}.items():
        for kind in component["inputDefinitions"].values():
            for parameter, definition in kind.items():
                assert definition.get("description"), f"{name}: {parameter}"
