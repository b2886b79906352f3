"""A bundle as a model in MLflow, with the flavor pyfunc; it holds the files of the bundle as they are."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.models.signature import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

from ctrloom import storage
from ctrloom.models.bundle import MODEL, SCHEMA
from ctrloom.schema import Schema as BundleSchema

NAME, BUNDLE = "model", "ctrloom.bundle"
CHAMPION = "champion"
NOT_READ = ("label", "weight", "ignored", "context")  # kinds of columns that a prediction does not need


def log_bundle(
    client: MlflowClient, run: str, bundle: Path, registered: str | None = None, champion: bool = False
) -> None:
    """Log a bundle as the model of a run, unless the run has the same one already.

    With `registered`, it is also a version of that registered model, with the alias `champion` if it is one.
    """
    content = storage.sha256(bundle / MODEL)  # which has the checksums of all other files
    experiment = client.get_run(run).info.experiment_id
    known = [each for each in _models_of(client, experiment, run) if each.tags.get(BUNDLE) == content]
    if known:
        uri = str(known[0].model_uri)
    else:
        outdated = _models_of(client, experiment, run)
        with mlflow.start_run(run_id=run):
            info = mlflow.pyfunc.log_model(
                name=NAME,
                loader_module="ctrloom.tracking.pyfunc",
                data_path=str(bundle),
                pip_requirements=[f"ctrloom[mlflow]=={version('ctrloom')}"],
                signature=_signature(bundle),
                tags={BUNDLE: content},
            )
        uri = str(info.model_uri)
        for each in outdated:
            client.delete_logged_model(each.model_id)
    if registered:
        _register(client, registered, uri, run, content, champion)


def _models_of(client: MlflowClient, experiment: str, run: str) -> list[Any]:
    """The models of a run that are complete."""
    found = client.search_logged_models([experiment], filter_string=f"source_run_id = '{run}'")
    return [each for each in found if str(each.status) in ("READY", "LoggedModelStatus.READY")]


def _register(client: MlflowClient, name: str, uri: str, run: str, content: str, champion: bool) -> None:
    versions = client.search_model_versions(f"name = '{name}'")
    same = next((each for each in versions if each.tags.get(BUNDLE) == content), None)
    if same is None:
        same = mlflow.register_model(uri, name, tags={BUNDLE: content})
    if champion:
        client.set_registered_model_alias(name, CHAMPION, same.version)


def _signature(bundle: Path) -> ModelSignature:
    """Columns of raw rows; without types, and none is required: ctrloom itself converts and checks them."""
    source = storage.read_record(bundle / SCHEMA, BundleSchema).source
    names = [name for name, column in source.columns.items() if column.kind not in NOT_READ]
    inputs = Schema([ColSpec(AnyType(), name, required=False) for name in names])
    return ModelSignature(inputs, Schema([ColSpec(DataType.float, "probability")]))
