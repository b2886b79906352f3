"""Writes a run to MLflow: one run for the whole, inside of it one per model, and inside of these the seeds.

A run that is tracked again is found by its tags: `ctrloom.run`, the identity of the whole, and
`ctrloom.path`, the place of a model or seed in it. The run of the whole is updated. Those inside are kept if
they show the same figures (`ctrloom.digest`), and replaced otherwise, because parameters cannot be changed in
MLflow, and curves only grow.
"""

import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from ctrloom.architecture import Architecture
from ctrloom.config.base import ConfigError
from ctrloom.config.tracking import MlflowConfig
from ctrloom.config.url_secrets import revealed
from ctrloom.report.architecture import architecture_markdown, architecture_picture
from ctrloom.tracking.mlflow_model import log_bundle
from ctrloom.tracking.nodes import Node, Tracked
from ctrloom.tracking.records import shown

RUN, PATH, DIGEST = "ctrloom.run", "ctrloom.path", "ctrloom.digest"
WHOLE = "-"  # the path of the run of the whole; MLflow takes no empty tag
LONGEST = {"tag": 5_000, "parameter": 6_000, "key": 250}  # characters; MLflow refuses longer ones
BATCH = {"metrics": 1_000, "params": 100, "tags": 100}  # per request


def write(tracked: Tracked, config: MlflowConfig) -> str:
    """Write a run, or update it; returns the id of its MLflow run.

    Raises:
        ConfigError: there is no address of a server, or the experiment is deleted.
        MlflowException: the server does not answer, or refuses.
    """
    uri = (
        revealed(config.uri)
        if config.uri
        else mlflow.get_tracking_uri()
        if mlflow.is_tracking_uri_set()
        else ""
    )
    if not uri:
        raise ConfigError(
            "tracking.mlflow.uri: set the address of the server, here or in MLFLOW_TRACKING_URI"
        )
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    writer = _Writer(MlflowClient(tracking_uri=uri, registry_uri=uri), config.experiment, tracked)
    run = writer.whole()
    writer.inside(run)
    writer.files(run)
    if config.bundle and tracked.bundle:
        promoted = tracked.node.tags.get("promote") == "true"
        log_bundle(writer.client, run, tracked.bundle, config.registered_model, champion=promoted)
    writer.client.set_terminated(run, "FINISHED")
    return run


class _Writer:
    """The MLflow runs of one run of ctrloom."""

    def __init__(self, client: MlflowClient, experiment: str, tracked: Tracked) -> None:
        self.client, self.tracked = client, tracked
        self.now = int(time.time() * 1_000)
        self.experiment = self._experiment(experiment)
        self.there = dict[str, Run]()
        for run in self._found():  # the oldest first
            path = run.data.tags.get(PATH, "")
            if path in self.there:  # two processes tracked it at once
                client.delete_run(run.info.run_id)
            else:
                self.there[path] = run

    def whole(self) -> str:
        """Create or update the run of the whole; returns its id."""
        node, known = self.tracked.node, self.there.get(WHOLE)
        tags = {**_tags(node), "ctrloom.kind": self.tracked.kind}
        tags["mlflow.note.content"] = shown(self.tracked.description, LONGEST["tag"])
        if known is None:
            run = self._created(node.name, WHOLE, {})
        else:
            run = known.info.run_id
            self.client.update_run(run, status="RUNNING")
        had = known.data if known else None
        parameters = {
            key: value for key, value in _parameters(node).items() if not had or key not in had.params
        }
        figures = _figures(node.metrics)
        changed = {key: value for key, value in figures.items() if not had or had.metrics.get(key) != value}
        self._log(run, parameters, [Metric(key, value, self.now, 0) for key, value in changed.items()], tags)
        return run

    def inside(self, whole: str) -> None:
        """Create the runs of models and seeds, and replace those with other figures."""
        for model in self.tracked.node.children:
            below = dict(model.below(f"{model.name}/"))
            paths = {model.name, *below}
            if not self._is_same(model, paths):
                self._delete(
                    path for path in self.there if path == model.name or path.startswith(f"{model.name}/")
                )
                self._create(model, model.name, whole)
        names = {model.name for model in self.tracked.node.children}
        self._delete(path for path in self.there if path != WHOLE and path.partition("/")[0] not in names)

    def files(self, run: str) -> None:
        """Log records, pages, and the architecture as text and picture."""
        for path in self.tracked.files:
            self.client.log_artifact(run, str(path))
        architecture = next((path for path in self.tracked.files if path.name == "architecture.json"), None)
        if architecture is None:
            return
        found = Architecture.load(architecture)
        with tempfile.TemporaryDirectory() as folder:
            text, picture = Path(folder, "architecture.md"), architecture_picture(found)
            text.write_text(architecture_markdown(found), encoding="utf-8")
            if picture:
                text.with_suffix(".png").write_bytes(picture)
            self.client.log_artifacts(run, folder)

    def _is_same(self, node: Node, paths: set[str]) -> bool:
        known = self.there.get(node.name)
        return (
            known is not None
            and known.info.status == "FINISHED"
            and known.data.tags.get(DIGEST) == node.digest
            and paths <= self.there.keys()
        )

    def _create(self, node: Node, path: str, parent: str) -> None:
        run = self._created(node.name, path, {"mlflow.parentRunId": parent})
        points = [Metric(key, value, self.now, 0) for key, value in _figures(node.metrics).items()]
        for key, values in node.curves.items():
            points += [Metric(_key(key), value, self.now, step) for step, value in enumerate(values, 1)]
        self._log(run, _parameters(node), points, _tags(node))
        for child in node.children:
            self._create(child, f"{path}/{child.name}", run)
        self.client.set_tag(run, DIGEST, node.digest)  # last: what has it is complete
        self.client.set_terminated(run, "FINISHED")

    def _created(self, name: str, path: str, tags: Mapping[str, str]) -> str:
        every = {RUN: self.tracked.identity, PATH: path, "mlflow.source.name": "ctrloom", **tags}
        title = shown(name, LONGEST["key"])
        return str(self.client.create_run(self.experiment, tags=every, run_name=title).info.run_id)

    def _log(
        self, run: str, parameters: Mapping[str, str], points: list[Metric], tags: Mapping[str, str]
    ) -> None:
        params = [Param(key, value) for key, value in parameters.items()]
        given = [RunTag(key, value) for key, value in tags.items()]
        batches = {"metrics": points, "params": params, "tags": given}
        for kind, items in batches.items():
            for start in range(0, len(items), size := BATCH[kind]):
                self.client.log_batch(run, **{kind: items[start : start + size]})

    def _delete(self, paths: Iterator[str]) -> None:
        for path in list(paths):
            self.client.delete_run(self.there.pop(path).info.run_id)

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is None:
            return str(self.client.create_experiment(name))
        if found.lifecycle_stage == "deleted":
            raise ConfigError(
                f"tracking.mlflow.experiment: {name} was deleted; restore it, or use another name"
            )
        return str(found.experiment_id)

    def _found(self) -> Iterator[Run]:
        wanted, token = f"tags.`{RUN}` = '{self.tracked.identity}'", None
        while True:
            page: Any = self.client.search_runs(
                [self.experiment],
                wanted,
                max_results=1_000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return


def _tags(node: Node) -> dict[str, str]:
    return {_key(key): shown(value, LONGEST["tag"]) for key, value in node.tags.items()}


def _parameters(node: Node) -> dict[str, str]:
    return {_key(key): shown(value, LONGEST["parameter"]) for key, value in node.parameters.items()}


def _figures(metrics: Mapping[str, float]) -> dict[str, float]:
    return {_key(key): float(value) for key, value in metrics.items()}


def _key(name: str) -> str:
    """A name in MLflow's alphabet."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[: LONGEST["key"]]
