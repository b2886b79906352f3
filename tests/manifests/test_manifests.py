"""Manifests: every resource against the schema of its kind, and references between resources."""

import copy
import shlex
import shutil
from datetime import date
from importlib.metadata import version
from ipaddress import ip_network

import jsonschema
import kubernetes_validate
import pytest
import typer
import yaml
from manifest_checks import little, named, validate

from ctrloom.cli import BY_SEVERAL, app
from ctrloom.config import ClusterConfig
from ctrloom.config.files import load_retraining_config, load_run_config
from ctrloom.data.ingest.date_window import windowed
from ctrloom.runners.placement import load_hardware
from ctrloom.runners.request import PipelineRequest
from manifests import render

BASE = sorted(path for path in (render.HERE / "base").glob("*.yaml") if path.name != "kustomization.yaml")


@pytest.fixture(scope="module", params=render.OVERLAYS)
def overlay(request):
    if not shutil.which("kubectl"):
        pytest.skip("kubectl, which builds overlays, is not on the PATH")
    return request.param, render.overlay(request.param)


@pytest.fixture(scope="module")
def base():
    return [resource for path in BASE for resource in yaml.safe_load_all(path.read_text())]


@pytest.mark.parametrize("path", BASE, ids=lambda path: path.name)
def test_files_fit_their_schemas(path):
    for resource in yaml.safe_load_all(path.read_text()):
        validate(resource)


def test_the_base_names_all_its_files():
    listed = yaml.safe_load((render.HERE / "base" / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in BASE]


def test_overlays_fit_their_schemas(overlay):
    for resource in overlay[1]:
        validate(resource)


def test_overlays_set_every_placeholder(overlay):
    assert "set-by-" not in yaml.safe_dump_all(overlay[1])


def test_overlays_set_what_the_command_line_reads(overlay):
    name, resources = overlay
    lines = (render.HERE / "overlays" / name / "settings.env").read_text().splitlines()
    settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    keys = {key.removeprefix("CTRLOOM_").lower() for key in settings if key.startswith("CTRLOOM_")}
    assert keys <= set(ClusterConfig.model_fields)
    assert ("ServiceAccount", settings["CTRLOOM_SERVICE_ACCOUNT"]) in map(named, resources)
    assert settings["CTRLOOM_IMAGE"].endswith(f"ctrloom-python:{version('ctrloom')}")
    (job,) = [each for each in resources if each["kind"] == "CronJob"]
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == settings["CTRLOOM_IMAGE"]
    assert ("ConfigMap", "kfp-launcher") not in map(named, resources), "it belongs to KFP"
    assert settings["CTRLOOM_PIPELINE_ROOT"]
    assert ("Namespace", settings["CTRLOOM_NAMESPACE"]) in map(named, resources)
    mounted = container["envFrom"][0]["configMapRef"]["name"]
    assert ("ConfigMap", mounted) in map(named, resources)


def test_overlay_supports_another_namespace(overlay, tmp_path):
    name, resources = overlay
    shutil.copytree(render.HERE, tmp_path / "manifests")
    file = tmp_path / "manifests" / "overlays" / name / "kustomization.yaml"
    file.write_text(file.read_text().replace("namespace: kubeflow", "namespace: team-ads"))
    moved = render.built(file.parent)
    assert len(moved) == len(resources)
    for resource in moved:
        validate(resource)
        its = resource["metadata"].get("namespace") or resource["metadata"]["name"]
        assert its == "team-ads", named(resource)
        for subject in resource.get("subjects", []):
            assert subject["namespace"] == "team-ads"


def test_the_local_overlay_asks_for_no_gpu_and_has_the_keys_of_kfps_store(overlay):
    name, resources = overlay
    if name != "local":
        return
    hardware = load_hardware(render.HERE / "overlays" / name / "hardware.yaml")
    request = PipelineRequest.of(
        "compare", {"data": {}, "store": "s", "jobs": [], "comparison": {}}, {}, None, None, True, hardware
    )
    text = request.text
    assert "resourceType" not in text
    assert "nvidia-l4" not in text
    (job,) = [each for each in resources if each["kind"] == "CronJob"]
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert "--hardware=/etc/ctrloom/hardware.yaml" in container["args"]
    from_secret = {
        its["name"]: its["valueFrom"]["secretKeyRef"] for its in container["env"] if "valueFrom" in its
    }
    (secret,) = hardware.environment.secrets
    assert from_secret == {n: {"name": secret.name, "key": key} for n, key in secret.variables.items()}
    role = next(each for each in resources if named(each) == ("Role", "ctrloom-steps"))
    (readable,) = [rule for rule in role["rules"] if "secrets" in rule["resources"]]
    assert (readable["resourceNames"], readable["verbs"]) == ([secret.name], ["get"])


def test_steps_reach_the_api_server(overlay):
    policy = next(each for each in overlay[1] if named(each) == ("NetworkPolicy", "ctrloom-api-server"))[
        "spec"
    ]
    assert policy["podSelector"]["matchLabels"] == {"pipelines.kubeflow.org/v2_component": "true"}
    (rule,) = policy["egress"]
    assert {port["port"] for port in rule["ports"]} == {443, 6443}
    assert all(ip_network(to["ipBlock"]["cidr"]).is_private for to in rule["to"])


def test_steps_on_gke_have_the_identity_of_the_cloud(overlay):
    name, resources = overlay
    account = next(each for each in resources if named(each) == ("ServiceAccount", "ctrloom-steps"))
    annotated = "iam.gke.io/gcp-service-account" in account["metadata"].get("annotations", {})
    assert annotated == (name == "gke")


def test_pipelines_fit_their_schemas():
    resources = render.pipelines()
    for resource in resources:
        validate(resource)
    kinds = [resource["kind"] for resource in resources]
    assert kinds.count("Pipeline") == kinds.count("PipelineVersion") == 11
    versions = [each for each in resources if each["kind"] == "PipelineVersion"]
    pipelines = {each["metadata"]["name"] for each in resources if each["kind"] == "Pipeline"}
    assert {each["spec"]["pipelineName"] for each in versions} == pipelines


def test_a_misspelt_field_is_refused(base):
    job = copy.deepcopy(next(each for each in base if each["kind"] == "CronJob"))
    job["spec"]["concurencyPolicy"] = job["spec"].pop("concurrencyPolicy")
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(job)
    for damage in ({"pipelineSpecs": {}}, {"pipelineSpec": None}):
        pipeline = copy.deepcopy(render.pipelines()[1])
        pipeline["spec"].update(damage)
        with pytest.raises(jsonschema.ValidationError):
            validate(pipeline)


def test_cron_job_calls_valid_commands(base):
    (job,) = [each for each in base if each["kind"] == "CronJob"]
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    command, *arguments = [
        argument.replace("$(REGISTRY)", "gs://b/registry") for argument in container["args"]
    ]
    known = typer.main.get_command(app).commands[command]
    given = known.make_context(command, arguments).params
    assert given["wait"]
    assert given["timeout"] < job["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"]
    for name in render.OVERLAYS:
        keys = [tuple(parameter.split("=")) for parameter in given["parameter"]]
        config = load_retraining_config(render.HERE / "overlays" / name / "retrain.yaml", keys)
        windowed(config.data, date(2026, 11, 30), config.days)
        offered = {**config.model_dump(mode="json"), "store": "gs://b/data"}
        assert PipelineRequest.of(given["pipeline"], offered, {}).parameters["registry"] == "gs://b/registry"


def test_pods_have_minimal_privileges(base):
    for job in (each for each in base if each["kind"] == "CronJob"):
        pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert not pod["automountServiceAccountToken"]
        little(pod)


def test_roles_are_minimal_and_bound_to_existing_accounts(base):
    there = set(map(named, base))
    assert not {kind for kind, _ in there} & {"ClusterRole", "ClusterRoleBinding", "Secret"}
    for role in (each for each in base if each["kind"] == "Role"):
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert "secrets" not in rule["resources"]
    for binding in (each for each in base if each["kind"] == "RoleBinding"):
        assert ("Role", binding["roleRef"]["name"]) in there
        assert {("ServiceAccount", subject["name"]) for subject in binding["subjects"]} <= there


def test_network_policies_isolate_steps(base):
    policies = {each["metadata"]["name"]: each["spec"] for each in base if each["kind"] == "NetworkPolicy"}
    assert policies.pop("ctrloom-api-server")["policyTypes"] == [
        "Egress"
    ]  # ingress is denied by another policy
    for policy in policies.values():
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
        assert "ingress" not in policy
        for block in (to["ipBlock"] for rule in policy["egress"] for to in rule["to"] if "ipBlock" in to):
            private = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"}
            assert block["cidr"].endswith("/32") or set(block["except"]) == private


@pytest.fixture(scope="module")
def training():
    """The resources of a training on several GPUs, and the pod of its job."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl, which builds manifests, is not on the PATH")
    resources = {named(each): each for each in render.trainer()}
    spec = resources["TrainJob", "ctrloom-train"]["spec"]
    (patch,) = spec["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = copy.deepcopy(node["template"]["spec"]["template"]["spec"])
    (container,) = pod["containers"]
    trainer = spec["trainer"]
    container.update({key: trainer[key] for key in ("image", "command", "args", "env")})
    container["resources"] = trainer["resourcesPerNode"]
    return resources, trainer, pod


def test_the_training_fits_its_schemas(training):
    resources, _, pod = training
    for resource in resources.values():
        validate(resource)
    validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node"}, "spec": pod})
    little(pod)
    wrong = copy.deepcopy(resources["TrainJob", "ctrloom-train"])
    wrong["spec"]["trainer"]["numNode"] = wrong["spec"]["trainer"].pop("numNodes")
    with pytest.raises(jsonschema.ValidationError, match="numNode"):
        validate(wrong)


def test_training_refers_to_existing_resources(training, base):
    resources, trainer, pod = training
    assert ("ServiceAccount", pod["serviceAccountName"]) in map(named, base)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert ("PersistentVolumeClaim", volumes["results"]["persistentVolumeClaim"]["claimName"]) in resources
    assert ("ConfigMap", volumes["run"]["configMap"]["name"]) in resources
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == set(volumes)
    settings = resources["ConfigMap", "ctrloom-train-settings"]["data"]
    assert trainer["image"] == settings["CTRLOOM_GPU_IMAGE"]
    for each in trainer["env"]:
        if source := each.get("valueFrom"):
            assert source["configMapKeyRef"]["key"] in settings
    for bound in trainer["resourcesPerNode"].values():
        assert bound["nvidia.com/gpu"] == str(trainer["numProcPerNode"]), "one process a GPU"


def test_training_runs_distributed_commands(training, tmp_path):
    resources, trainer, _ = training
    (tmp_path / "run.yaml").write_text(resources["ConfigMap", "ctrloom-train"]["data"]["run.yaml"])
    assert load_run_config(tmp_path / "run.yaml", []).name == "train"
    known = typer.main.get_command(app).commands
    written = []
    passes_signals, *lines = trainer["args"][0].splitlines()
    assert passes_signals.startswith("trap 'kill -TERM $process; wait $process' TERM")
    assert set(lines[1::2]) == {"process=$!; wait $process"}
    for line in lines[::2]:
        run, module, package, command, *arguments, background = shlex.split(line)
        assert background == "&"
        assert (run, module, package) == ("torchrun", "-m", "ctrloom")
        assert command in BY_SEVERAL
        given = known[command].make_context(command, arguments).params
        assert str(given["config"]) == "/etc/ctrloom/run.yaml"
        if needed := given.get("search"):
            assert str(needed) in written, "an earlier command writes what this one reads"
        written.append(str(given["output"]))
    assert written == ["/results/search", "/results/retrain"]


@pytest.fixture(scope="module")
def encoding():
    """The resources of a job of the Spark operator, and the job itself."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl, which builds manifests, is not on the PATH")
    resources = {named(each): each for each in render.spark()}
    return resources, resources["SparkApplication", "ctrloom-encode"]["spec"]


def test_the_encoding_fits_its_schemas(encoding):
    resources, spec = encoding
    for resource in resources.values():
        validate(resource)
    assert "set-by-" not in yaml.safe_dump_all(resources.values())
    for part in ("driver", "executor"):
        its = spec[part]
        assert its["podSecurityContext"]["runAsNonRoot"]
        mounts = [mount["name"] for mount in its["volumeMounts"]]
        container = {"name": part, "image": "i", "securityContext": its["securityContext"]}
        pod = {
            "serviceAccountName": its["serviceAccount"],
            "securityContext": its["podSecurityContext"],
            "volumes": [volume for volume in spec["volumes"] if volume["name"] in mounts],
            "containers": [{**container, "volumeMounts": its["volumeMounts"]}],
        }
        validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": part}, "spec": pod})
        limited = {**pod["containers"][0], "resources": {"limits": {"memory": its["memory"]}}}
        little({**pod, "containers": [limited]})
    wrong = copy.deepcopy(resources["SparkApplication", "ctrloom-encode"])
    wrong["spec"]["executor"]["instanses"] = wrong["spec"]["executor"].pop("instances")
    with pytest.raises(jsonschema.ValidationError):
        validate(wrong)


def test_encoding_refers_to_existing_resources_with_minimal_privileges(encoding):
    resources, spec = encoding
    settings = resources["ConfigMap", "ctrloom-spark-settings"]["data"]
    assert spec["image"] == settings["IMAGE"]
    assert {volume["name"] for volume in spec["volumes"]} == {"data", "tmp"}
    assert ("ConfigMap", spec["volumes"][0]["configMap"]["name"]) in resources
    accounts = {spec[part]["serviceAccount"] for part in ("driver", "executor")}
    assert all(("ServiceAccount", account) in resources for account in accounts)
    (rule,) = resources["Role", "ctrloom-spark"]["rules"]
    assert "*" not in rule["verbs"] + rule["resources"]
    assert "secrets" not in rule["resources"]
    policy = resources["NetworkPolicy", "ctrloom-spark"]["spec"]
    label = policy["podSelector"]["matchLabels"]
    assert label == spec["driver"]["labels"] == spec["executor"]["labels"]
    assert policy["ingress"] == [{"from": [{"podSelector": {"matchLabels": label}}]}]
    anywhere = [rule["ports"] for rule in policy["egress"] if "to" not in rule]
    assert anywhere == [[{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 6443}]]


def test_encoding_runs_a_valid_command_in_the_image(encoding, tmp_path):
    resources, spec = encoding
    command, *arguments = spec["arguments"]
    given = typer.main.get_command(app).commands[command].make_context(command, arguments).params
    settings = resources["ConfigMap", "ctrloom-spark-settings"]["data"]
    assert (given["engine"], given["store"], given["ingested"]) == ("spark", settings["STORE"], None)
    (mount,) = [mount for mount in spec["driver"]["volumeMounts"] if mount["name"] == "data"]
    file = given["config"].relative_to(mount["mountPath"])
    (tmp_path / file).write_text(resources["ConfigMap", "ctrloom-spark"]["data"][str(file)])
    assert load_run_config(tmp_path / file).vocabulary.min_count == 10
    dockerfile = (render.HERE.parent / "docker" / "Dockerfile.spark").read_text()
    assert (
        f"COPY src/ctrloom/__main__.py {spec['mainApplicationFile'].removeprefix('local://')}" in dockerfile
    )
    pins = (render.HERE.parent / "constraints.txt").read_text().splitlines()
    assert f"pyspark=={spec['sparkVersion']}" in pins
    assert settings["IMAGE"].endswith(f"ctrloom-python:{version('ctrloom')}-spark")
