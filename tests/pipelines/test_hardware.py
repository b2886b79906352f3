"""What the hardware's configuration says of a step stands in the compiled pipelines."""

import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")

from ctrloom.config.hardware import Hardware
from ctrloom.config_file import read_yaml
from ctrloom.pipelines import compiled
from ctrloom.section import ConfigError

ROOT = Path(__file__).parents[2]
FILE = ROOT / "pipelines" / "hardware.yaml"
HARDWARE = Hardware.parse(read_yaml(FILE), "hardware.yaml")
NAMES = sorted(path.stem for path in (ROOT / "src/ctrloom/pipelines").glob("*.yaml"))


def placed(name):
    """Of every task that runs in a container: its component, task, container and Kubernetes settings."""
    spec, platform = compiled.read(name)
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for task in compiled.tasks(spec):
        label = spec["components"][task["componentRef"]["name"]].get("executorLabel")
        if label:
            step = re.sub(r"(-\d+)+$", "", label.removeprefix("exec-")).replace("-", "_")
            yield (
                step,
                task,
                spec["deploymentSpec"]["executors"][label]["container"],
                kubernetes.get(label, {}),
            )


STEPS = [pytest.param(*step, id=f"{name}-{step[0]}") for name in NAMES for step in placed(name)]


@pytest.mark.parametrize(("step", "task", "container", "kubernetes"), STEPS)
def test_a_step_runs_where_its_profile_says(step, task, container, kubernetes):
    profile = HARDWARE.profiles[HARDWARE.steps[step].profile]
    assert kubernetes["activeDeadlineSeconds"] == str(profile.timeout)
    assert task["retryPolicy"] == {
        "maxRetryCount": profile.retry.attempts,
        "backoffDuration": f"{profile.retry.backoff}s",
        "backoffFactor": profile.retry.factor,
        "backoffMaxDuration": f"{profile.retry.longest}s",
    }
    assert task["cachingOptions"].get("enableCache", False) == HARDWARE.steps[step].cached
    assert container["resources"]["resourceMemoryLimit"] == profile.memory.limit
    if profile.accelerator:
        accelerator = container["resources"]["accelerator"]
        assert accelerator["resourceType"] == profile.accelerator.type
        assert accelerator["resourceCount"] == str(profile.accelerator.count)
        assert kubernetes["nodeSelector"]["labels"] == profile.node_selector
        assert [taint["key"] for taint in kubernetes["tolerations"]] == ["nvidia.com/gpu"]
        (shared,) = kubernetes["emptyDirMounts"]
        assert (shared["mountPath"], shared["medium"]) == ("/dev/shm", "Memory")
        assert shared["sizeLimit"] == profile.shared_memory
    else:
        assert "accelerator" not in container["resources"]
        assert "tolerations" not in kubernetes
        (affinity,) = kubernetes["nodeAffinity"]
        assert affinity["matchExpressions"] == [
            {"key": label, "operator": "DoesNotExist"} for label in profile.avoid
        ]


def test_every_component_has_a_step_and_no_other():
    components = {path.parent.name for path in (ROOT / "components").glob("*/component.py")}
    assert set(HARDWARE.steps) == components


@pytest.mark.parametrize("name", NAMES)
def test_one_machine_gets_nothing_of_it(name):
    text = compiled.for_one_machine(name)
    (spec,) = yaml.safe_load_all(text)
    assert all("retryPolicy" not in task for task in compiled.tasks(spec))
    assert not re.search("accelerator|tolerations|resourceCpu|CTRLOOM_DEVICE", text)


def test_another_file_places_steps_elsewhere(tmp_path, monkeypatch):
    from kfp import compiler, dsl

    from components.ingest.component import ingest
    from pipelines import hardware

    mine = tmp_path / "mine.yaml"
    mine.write_text(
        f"extends: {FILE}\n"
        "steps: {ingest: {profile: gpu, cached: false, because: theirs}}\n"
        "profiles: {gpu: {node_selector: {pool: fast}, accelerator: {count: 2}}}\n"
    )
    monkeypatch.setattr(hardware, "FILE", mine)
    hardware.hardware.cache_clear()

    @dsl.pipeline
    def alone():
        hardware.place(ingest(data={}, store="store"))

    try:
        compiler.Compiler().compile(alone, str(tmp_path / "alone.yaml"))
    finally:
        hardware.hardware.cache_clear()
    spec, platform = yaml.safe_load_all((tmp_path / "alone.yaml").read_text())
    executor = spec["deploymentSpec"]["executors"]["exec-ingest"]["container"]
    assert executor["resources"]["accelerator"]["resourceCount"] == "2"
    assert {"name": "CTRLOOM_PROCESSES", "value": "2"} in executor["env"]
    labels = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-ingest"][
        "nodeSelector"
    ]["labels"]
    assert labels == {"pool": "fast", "cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert spec["root"]["dag"]["tasks"]["ingest"]["cachingOptions"] == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profiles": {"cpu": {"avoid": []}}}, "avoid: a profile without an accelerator"),
        ({"profiles": {"cpu": {"tolerations": [{"key": "nvidia.com/gpu"}]}}}, "avoid: a profile without"),
        ({"profiles": {"gpu": {"shared_memory": "much"}}}, "profiles.gpu.shared_memory"),
        ({"profiles": {"gpu": {"shared_memroy": "1Gi"}}}, "did you mean 'shared_memory'?"),
        ({"steps": {"ingest": {"profile": "tpu"}}}, "no profile 'tpu'; there are cpu, gpu"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(change, message, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"extends: {FILE}\n" + yaml.safe_dump(change))
    with pytest.raises(ConfigError, match=re.escape(message)):
        Hardware.parse(read_yaml(tmp_path / "mine.yaml"), "mine.yaml")


def test_a_step_without_a_place_is_an_error(monkeypatch):
    from kfp import dsl

    from components.ingest.component import ingest
    from pipelines import hardware

    none = HARDWARE.model_copy(update={"steps": {}})
    monkeypatch.setattr(hardware, "hardware", lambda: none)

    def alone():
        hardware.place(ingest(data={}, store="store"))

    with pytest.raises(ValueError, match="steps: has no 'ingest'"):
        dsl.pipeline(alone)
