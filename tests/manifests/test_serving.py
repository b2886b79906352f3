"""Manifests of the server: schemas, references, commands, probes and privileges."""

import copy
import shutil
from pathlib import Path

import jsonschema
import pytest
import typer
import yaml
from manifest_checks import little, named, validate

from ctrloom.cli import app
from ctrloom.interruption.handlers import FOR_CHILDREN, GRACE
from ctrloom.serving.server.options import ServerOptions
from manifests import render

PATHS = "/v2/health/live", "/v2/health/ready"


@pytest.fixture(scope="module")
def deployed():
    """The resources of the plain Deployment, by kind and name."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl, which builds manifests, is not on the PATH")
    return {named(each): each for each in render.serving()}


@pytest.fixture(scope="module")
def inference():
    return yaml.safe_load((render.HERE / "serving" / "inference-service.yaml").read_text())


def pod_of(resources):
    return resources["Deployment", "ctrloom-serve"]["spec"]["template"]["spec"]


def checked(pod, settings):
    """Fail if a pod has too many privileges, an invalid command, or probes of other paths or ports."""
    little(pod)
    assert not pod["automountServiceAccountToken"]
    (container,) = pod["containers"]
    command, *arguments = container["args"]
    for name, value in settings.items():
        arguments = [each.replace(f"$({name})", value) for each in arguments]
    known = typer.main.get_command(app).commands[command]
    given = known.make_context(command, arguments).params
    assert given["host"] == "0.0.0.0"
    assert given["registry"].startswith("gs://")
    ports = {port["containerPort"]: port["name"] for port in container["ports"]}
    assert set(ports) <= {given["port"], given["grpc_port"]}
    probes = {
        name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert [probe["path"] for probe in probes.values()] == [PATHS[0], PATHS[1], PATHS[0]]
    assert {probe["port"] for probe in probes.values()} <= {given["port"], ports[given["port"]]}
    period = container["readinessProbe"]["periodSeconds"] * container["readinessProbe"]["failureThreshold"]
    assert period < given["drain"], "a pod leaves its service before its ports close"
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
    return given


def test_the_deployment_fits_its_schemas(deployed):
    for resource in deployed.values():
        validate(resource)
    assert "set-by-" not in yaml.safe_dump_all(deployed.values())


def test_the_deployment_runs_a_valid_command(deployed):
    settings = deployed["ConfigMap", "ctrloom-serve-settings"]["data"]
    given = checked(pod_of(deployed), settings)
    assert given["log_to"] == settings["LOG"]
    (container,) = pod_of(deployed)["containers"]
    assert container["image"] == settings["IMAGE"]


def test_a_pod_has_time_to_drain(deployed):
    options = ServerOptions()
    assert options.drain_seconds + options.finish_seconds < GRACE
    assert pod_of(deployed)["terminationGracePeriodSeconds"] > GRACE + FOR_CHILDREN


def test_resources_of_the_deployment_refer_to_each_other(deployed):
    labels = deployed["Deployment", "ctrloom-serve"]["spec"]["template"]["metadata"]["labels"].items()
    service = deployed["Service", "ctrloom-serve"]["spec"]
    assert service["selector"].items() <= labels
    ports = {port["name"] for port in pod_of(deployed)["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["ports"]} == ports
    target = deployed["HorizontalPodAutoscaler", "ctrloom-serve"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in deployed
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        spec = deployed[kind, "ctrloom-serve"]["spec"]
        assert spec.get("selector", spec.get("podSelector"))["matchLabels"].items() <= labels
    assert ("ServiceAccount", pod_of(deployed)["serviceAccountName"]) in deployed
    allowed = deployed["NetworkPolicy", "ctrloom-serve"]["spec"]["ingress"][0]["ports"]
    containers = pod_of(deployed)["containers"][0]["ports"]
    assert {port["port"] for port in allowed} == {port["containerPort"] for port in containers}


def test_the_inference_service_fits_its_schema_and_runs_a_valid_command(inference):
    validate(inference)
    predictor = copy.deepcopy(inference["spec"]["predictor"])
    for name in ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout"):
        del predictor[name]
    validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": predictor})
    given = checked(predictor, {})
    assert given["name"] == inference["metadata"]["name"], "as KServe names it in URLs"
    wrong = copy.deepcopy(inference)
    wrong["spec"]["predictor"]["maxReplica"] = 3
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        validate(wrong)


def test_all_files_are_applied_or_named(deployed):
    folder = Path(render.HERE / "serving")
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    files = {path.name for path in folder.glob("*.yaml")}
    assert files == {*listed, "kustomization.yaml", "inference-service.yaml"}
