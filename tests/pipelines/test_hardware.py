"""The hardware configuration of a step is compiled into the pipelines as KFP's own helpers write it."""

import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("kfp", reason="the extra `pipelines` is not installed")

from ctrloom.config.base import ConfigError
from ctrloom.config.files import merged
from ctrloom.config.hardware import Hardware
from ctrloom.runners import compiled
from ctrloom.runners.placement import component_of, load_hardware, place

ROOT = Path(__file__).parents[2]
HARDWARE = load_hardware()
NAMES = sorted(path.stem for path in (ROOT / "src/ctrloom/runners").glob("*.yaml"))


def placed(name):
    """Component, task, container and Kubernetes settings of every task that runs in a container."""
    spec, platform = compiled.read(name)
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for task in compiled.tasks(spec):
        label = spec["components"][task["componentRef"]["name"]].get("executorLabel")
        if label:
            executor = spec["deploymentSpec"]["executors"][label]
            yield component_of(executor), task, executor["container"], kubernetes[label]


STEPS = [pytest.param(*step, id=f"{name}-{step[0]}") for name in NAMES for step in placed(name)]


@pytest.mark.parametrize(("step", "task", "container", "kubernetes"), STEPS)
def test_step_has_the_settings_of_its_profile(step, task, container, kubernetes):
    profile = HARDWARE.profiles[HARDWARE.step(step).profile]
    assert kubernetes["activeDeadlineSeconds"] == str(profile.timeout)
    assert task["retryPolicy"] == {
        "maxRetryCount": profile.retry.attempts,
        "backoffDuration": f"{profile.retry.backoff}s",
        "backoffFactor": profile.retry.factor,
        "backoffMaxDuration": f"{profile.retry_budget}s",
    }
    budget = int(task["retryPolicy"]["backoffMaxDuration"].removesuffix("s"))
    assert budget > (profile.retry.attempts + 1) * profile.timeout
    assert task["cachingOptions"].get("enableCache", False) == HARDWARE.step(step).cached
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


def test_hardware_steps_match_the_components():
    components = {path.parent.name for path in (ROOT / "components").glob("*/component.py")}
    searches = {name for name in components if "search_" in name}
    assert set(HARDWARE.steps) - {"search"} <= components
    assert components - set(HARDWARE.steps) <= searches
    assert HARDWARE.step("search_autofis") == HARDWARE.steps["search"]


def test_one_search_can_have_other_hardware_than_all():
    changed = Hardware.parse(
        merged(HARDWARE.model_dump(mode="json"), {"steps": {"search_autofis": {"profile": "cpu"}}}), "test"
    )
    assert changed.step("search_autofis") == HARDWARE.step("search_aim").model_copy(update={"profile": "cpu"})
    assert changed.step("search_optinter") == HARDWARE.step("search_optinter")


@pytest.mark.parametrize("name", NAMES)
def test_local_pipeline_has_no_cluster_settings(name):
    text = compiled.for_one_machine(name)
    (spec,) = yaml.safe_load_all(text)
    assert all("retryPolicy" not in task for task in compiled.tasks(spec))
    assert not re.search("accelerator|tolerations|resourceCpu|CTRLOOM_DEVICE", text)


MINE = {
    "profiles": {
        "cpu": {"memory": {"request": "1Gi", "limit": "3Gi"}},
        "gpu": {
            "node_selector": {"pool": "fast", "cloud.google.com/gke-accelerator": None},
            "accelerator": {"count": 2},
            "tolerations": [{"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute"}],
            "retry": {"attempts": 1, "backoff": 10, "factor": 3, "pending": 5},
            "timeout": 100,
        },
    },
    "steps": {"ingest": {"profile": "gpu", "cached": False, "because": "theirs"}},
    "environment": {
        "variables": {"AWS_ENDPOINT_URL": "http://seaweedfs.kubeflow:9000"},
        "secrets": [{"name": "keys", "variables": {"AWS_ACCESS_KEY_ID": "accesskey", "TOKEN": "token"}}],
    },
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_placement_matches_kfps_own_helpers(tmp_path):
    from kfp import compiler, dsl, kubernetes

    from components.ingest.component import ingest
    from components.vocabulary.component import vocabulary

    def with_helpers(task, cached):
        kubernetes.use_secret_as_env(task, "keys", {"accesskey": "AWS_ACCESS_KEY_ID", "token": "TOKEN"})
        task.set_env_variable("CTRLOOM_CHECKPOINTS", "store")
        task.set_env_variable("AWS_ENDPOINT_URL", "http://seaweedfs.kubeflow:9000")
        return task.set_caching_options(cached)

    @dsl.pipeline
    def two():
        first = with_helpers(ingest(data={}, store="store"), False)
        first.set_cpu_request("4").set_cpu_limit("8").set_memory_request("16Gi").set_memory_limit("48Gi")
        first.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(2)
        first.set_env_variable("CTRLOOM_DEVICE", "cuda").set_env_variable("CTRLOOM_PROCESSES", "2")
        first.set_retry(1, "10s", 3, "220s")  # two attempts of 100 s, 5 s pending each, and 10 s between
        kubernetes.add_node_selector(first, "pool", "fast")
        kubernetes.add_toleration(first, "a", "Equal", "b", "NoExecute")
        kubernetes.empty_dir_mount(first, "shared-memory", "/dev/shm", "Memory", "8Gi")
        kubernetes.set_timeout(first, 100)
        second = with_helpers(vocabulary(ingested=first.outputs["ingested"], store="store"), True)
        second.set_cpu_request("2").set_cpu_limit("8").set_memory_request("1Gi").set_memory_limit("3Gi")
        second.set_retry(2, "30s", 2, f"{3 * (21600 + 86400) + 90}s")
        nowhere = ("cloud.google.com/gke-accelerator", "nvidia.com/gpu.present")
        expressions = [{"key": key, "operator": "DoesNotExist"} for key in nowhere]
        kubernetes.add_node_affinity(second, match_expressions=expressions)
        kubernetes.set_timeout(second, 21600)

    compiler.Compiler().compile(two, str(tmp_path / "two.yaml"))
    spec, platform = yaml.safe_load_all((tmp_path / "two.yaml").read_text())
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor["container"]
        numbers = ("cpuLimit", "cpuRequest", "memoryLimit", "memoryRequest")  # of backends before 2.4
        for key in numbers:
            del container["resources"][key]
        for key in ("count", "type"):
            container["resources"].get("accelerator", {}).pop(key, None)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(MINE))
    mine, theirs = yaml.safe_load_all((tmp_path / "two.yaml").read_text())
    place(mine, theirs, load_hardware(tmp_path / "mine.yaml"))
    assert theirs == platform
    assert mine == spec


def test_placement_replaces_earlier_settings(tmp_path):
    spec, platform = compiled.read("compare")
    before = yaml.safe_dump([spec, platform])
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(MINE))
    place(spec, platform, load_hardware(tmp_path / "mine.yaml"))
    assert yaml.safe_dump([spec, platform]) != before
    place(spec, platform, HARDWARE)
    assert yaml.safe_dump([spec, platform]) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profiles": {"cpu": {"avoid": []}}}, "avoid: a profile without an accelerator"),
        ({"profiles": {"cpu": {"tolerations": [{"key": "nvidia.com/gpu"}]}}}, "avoid: a profile without"),
        ({"profiles": {"gpu": {"shared_memory": "much"}}}, "profiles.gpu.shared_memory"),
        ({"profiles": {"gpu": {"shared_memroy": "1Gi"}}}, "did you mean 'shared_memory'?"),
        ({"steps": {"ingest": {"profile": "tpu"}}}, "no profile 'tpu'; there are cpu, gpu"),
        ({"profiles": {"cpu": {"retry": {"longest": 600}}}}, "longest: no longer supported"),
        ({"profiles": {"cpu": {"retry": {"factor": 1.5}}}}, "profiles.cpu.retry.factor"),
        ({"environment": {"variables": {"A B": "c"}}}, "environment.variables"),
    ],
)
def test_invalid_hardware_file_is_rejected(change, message, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(change))
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_hardware(tmp_path / "mine.yaml")


def test_step_without_hardware_is_an_error():
    none = Hardware(profiles=HARDWARE.profiles, steps={})
    with pytest.raises(ValueError, match=r"steps: has no 'compare_job'|steps: has no '\w+'"):
        place(*compiled.read("compare"), none)
