"""Checks of single resources."""

from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES = "1.34.0"  # version of the schemas
CUSTOM = yaml.safe_load((Path(__file__).parent / "custom_resources.yaml").read_text())


def validate(resource):
    """Fail if a resource violates the schema of its kind, or has an unknown field."""
    if schema := CUSTOM.get(f"{resource['apiVersion']} {resource['kind']}"):
        jsonschema.Draft202012Validator({**schema, "$defs": CUSTOM["$defs"]}).validate(resource)
    else:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def named(resource):
    return resource["kind"], resource["metadata"]["name"]


def little(pod):
    """Fail if a pod has more privileges than it needs."""
    assert pod["securityContext"]["runAsNonRoot"]
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
