"""The compiled pipeline is what the sources say, and means the same on a laptop as on a cluster."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPONENTS = sorted(path.parent.name for path in (ROOT / "components").glob("*/component.py"))


@pytest.fixture(scope="module")
def spec():
    return yaml.safe_load((ROOT / "src/ctrloom/pipelines/search_and_retrain.yaml").read_text())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_committed_yaml_is_what_the_source_compiles_to(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from kfp import compiler

    from pipelines.search_and_retrain import COMPILED, search_and_retrain

    compiler.Compiler().compile(search_and_retrain, str(tmp_path / "now.yaml"))
    assert (tmp_path / "now.yaml").read_text() == COMPILED.read_text(), "run `make compile`"


def test_every_component_is_in_the_pipeline(spec):
    used = {name.removeprefix("comp-").replace("-", "_") for name in spec["components"]}
    assert used == set(COMPONENTS)


def test_steps_name_an_image_that_the_local_runner_takes_and_install_nothing(spec):
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor["container"]
        assert "python" in container["image"]
        assert "pip install" not in " ".join(container["command"])


def test_pipeline_stays_in_the_subset_that_runs_alike_everywhere(spec):
    """No loops, conditions or failure strategies, which KFP's local runner is known to get wrong silently."""
    for name, task in spec["root"]["dag"]["tasks"].items():
        assert not {"parameterIterator", "artifactIterator", "iteratorPolicy"} & set(task), name
        assert "condition" not in task.get("triggerPolicy", {}), name
        assert not task.get("inputs", {}).get("parameters", {}).get("taskOutputParameter"), name


def test_every_input_is_described_for_the_ui(spec):
    for name, component in spec["components"].items():
        for kind in component["inputDefinitions"].values():
            for parameter, definition in kind.items():
                assert definition.get("description"), f"{name}: {parameter}"
