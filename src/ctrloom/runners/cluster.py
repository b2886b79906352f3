"""Runs on Kubeflow Pipelines: submit, schedule, and wait, over its v2beta1 API."""

import json
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctrloom.config import ClusterConfig
from ctrloom.runners import compiled
from ctrloom.runners.endpoint import ClusterError, Endpoint, UnreachableError
from ctrloom.runners.request import PipelineRequest

MOST_PAGES = 1_000  # of items of one name
ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
ATTEMPT = re.compile(r"\(\d+\)$")  # how KFP numbers the attempts of a task
INTERNAL = re.compile(r"root|executor|(condition|for-loop|iteration)-[a-z0-9-]+")
SUFFIX = "-[bcdfghjklmnpqrstvwxz2456789]{5}"  # what Kubernetes appends to a pipeline's name for its workflow


@dataclass(frozen=True)
class Outcome:
    """Final state of a run; `said` is KFP's error message, if any."""

    run: str
    state: str
    said: str = ""


class Cluster:
    """A connection to one KFP endpoint."""

    def __init__(self, config: ClusterConfig) -> None:
        """Configure the client; nothing is sent yet.

        Raises:
            ClusterError: KFP's client is not installed, or there is no endpoint or token file.
        """
        self.config, self.kfp = config, Endpoint(config)

    def submit(self, request: PipelineRequest, name: str) -> str:
        """Start a run; returns its id.

        Raises:
            ClusterError: the endpoint does not answer, or refuses.
        """
        run = self.kfp.models.V2beta1Run(
            experiment_id=self._experiment(),
            display_name=name,
            pipeline_spec=request.body,
            runtime_config=self._runtime(request),
            service_account=self.config.service_account,
        )
        return str(self.kfp.call(self.kfp.runs.run_service_create_run, run, its="run_id").run_id)

    def schedule(
        self, request: PipelineRequest, name: str, cron: str, catch_up: bool = False, concurrency: int = 1
    ) -> tuple[str, bool]:
        """Create a recurring run; returns its id, and whether anything changed.

        One of the same name is replaced, unless it is identical.

        Raises:
            ClusterError: the endpoint does not answer, or refuses; the previous schedule is kept.
        """
        pipeline, version = self._publish(request)
        wanted = self.kfp.models.V2beta1RecurringRun(
            experiment_id=self._experiment(),
            display_name=name,
            mode=self.kfp.models.RecurringRunMode.ENABLE,
            pipeline_version_reference=self.kfp.models.V2beta1PipelineVersionReference(
                pipeline_id=pipeline, pipeline_version_id=version
            ),
            runtime_config=self._runtime(request),
            service_account=self.config.service_account,
            trigger=self.kfp.models.V2beta1Trigger(
                cron_schedule=self.kfp.models.V2beta1CronSchedule(cron=cron)
            ),
            no_catchup=not catch_up,
            max_concurrency=str(concurrency),
        )
        there = self._named(
            self.kfp.recurring.recurring_run_service_list_recurring_runs,
            name,
            "recurring_runs",
            **self._space(),
        )
        if len(there) == 1 and _same(there[0], wanted):
            return str(there[0].recurring_run_id), False
        was_on = [
            each.recurring_run_id for each in there if each.mode == self.kfp.models.RecurringRunMode.ENABLE
        ]
        for old in was_on:  # two of one name must not be enabled at once
            self.kfp.call(self.kfp.recurring.recurring_run_service_disable_recurring_run, old)
        try:
            made = self.kfp.call(
                self.kfp.recurring.recurring_run_service_create_recurring_run, wanted, its="recurring_run_id"
            )
        except ClusterError:
            for old in was_on:
                self.kfp.call(self.kfp.recurring.recurring_run_service_enable_recurring_run, old)
            raise
        for each in there:
            self.kfp.call(
                self.kfp.recurring.recurring_run_service_delete_recurring_run, each.recurring_run_id
            )
        return str(made.recurring_run_id), True

    def wait(
        self, run: str, timeout: float, every: float = 15.0, say: Callable[[str], None] = lambda text: None
    ) -> Outcome | None:
        """Wait for a run to finish; None if it has not within `timeout` seconds.

        While the endpoint is temporarily unreachable, requests are retried.

        Raises:
            ClusterError: the endpoint refuses, does not know the run, or never answered.
        """
        deadline, state = time.monotonic() + timeout, ""
        while True:
            try:
                seen = self.kfp.call(self.kfp.runs.run_service_get_run, run, its="state")
            except UnreachableError as error:
                if not state or time.monotonic() >= deadline:
                    raise
                say(f"{error}; retrying")
            else:
                if seen.state != state:
                    say(f"{run}: {seen.state}")
                state = str(seen.state)
                if state in ENDED:
                    return Outcome(run, _ending(seen), _failures(seen))
            left = deadline - time.monotonic()
            if not left > 0:  # nor if it is not a number
                return None
            time.sleep(min(every, left))

    def page(self, run: str) -> str:
        """URL of a run in the Kubeflow UI."""
        return f"{self.kfp.address}/#/runs/details/{run}"

    def logs(self, run: str) -> str:
        """The command that shows what the steps of a run printed; the API has no message of a failed step."""
        namespace = self.config.namespace or "kubeflow"
        return (
            f"kubectl --namespace {namespace} logs --selector pipeline/runid={run} --container main --prefix"
        )

    def _runtime(self, request: PipelineRequest) -> Any:
        return self.kfp.models.V2beta1RuntimeConfig(
            parameters=request.parameters, pipeline_root=self.config.pipeline_root
        )

    def _space(self) -> dict[str, str]:
        return {"namespace": self.config.namespace} if self.config.namespace else {}

    def _experiment(self) -> str:
        """Id of the configured experiment, created if missing."""
        name, listed = self.config.experiment, self.kfp.experiments.experiment_service_list_experiments
        there = self._named(listed, name, "experiments", **self._space())
        if not there:
            wanted = self.kfp.models.V2beta1Experiment(display_name=name, **self._space())
            create = self.kfp.experiments.experiment_service_create_experiment
            there = [self.kfp.call(create, wanted, its="experiment_id")]
        return str(there[0].experiment_id)

    def _publish(self, request: PipelineRequest) -> tuple[str, str]:
        """Ids of the pipeline in the Kubeflow UI and of this version, uploaded if missing."""
        there = self._named(
            self.kfp.pipelines.pipeline_service_list_pipelines, request.pipeline, "pipelines", **self._space()
        )
        if not there:
            wanted = self.kfp.models.V2beta1Pipeline(display_name=request.pipeline, **self._space())
            there = [
                self.kfp.call(self.kfp.pipelines.pipeline_service_create_pipeline, wanted, its="pipeline_id")
            ]
        pipeline, name = str(there[0].pipeline_id), f"{request.pipeline}-{request.version}"
        list_versions = self.kfp.pipelines.pipeline_service_list_pipeline_versions
        versions = self._named(list_versions, name, "pipeline_versions", pipeline_id=pipeline)
        if versions:
            return pipeline, str(versions[0].pipeline_version_id)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{request.pipeline}.yaml"
            file.write_text(request.text, encoding="utf-8")
            upload, its = self.kfp.uploads.upload_pipeline_version, "pipeline_version_id"
            made = self.kfp.call(upload, str(file), name=name, pipelineid=pipeline, its=its)
        return pipeline, str(made.pipeline_version_id)

    def _named(self, listed: Callable[..., Any], name: str, key: str, **where: str) -> list[Any]:
        """All items of that name, over all pages."""
        only = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
        found, token = [], ""
        seen: set[str] = set()
        while True:
            page = self.kfp.call(listed, filter=json.dumps(only), page_size=100, page_token=token, **where)
            found += [each for each in getattr(page, key) or [] if each.display_name == name]
            token = page.next_page_token or ""
            if not token:
                return found
            if token in seen or len(seen) == MOST_PAGES:
                raise ClusterError(
                    f"{self.kfp.address}: repeats the pages of its {key.replace('_', ' ')} without end; "
                    "check that the endpoint is the address of KFP"
                )
            seen.add(token)


def _same(there: Any, wanted: Any) -> bool:
    """True if a recurring run agrees with all values that `wanted` sets."""

    def within(wish: Any, found: Any) -> bool:
        if isinstance(wish, dict):
            return isinstance(found, dict) and all(within(its, found.get(key)) for key, its in wish.items())
        return wish is None or wish == found

    have, wish = there.to_dict(), wanted.to_dict()
    exact = have["runtime_config"]["parameters"] == json.loads(
        json.dumps(wish["runtime_config"]["parameters"])
    )
    return exact and within(wish, have)


def _ending(run: Any) -> str:
    """Final state: KFP 2.17 reports a cancelled run as failed, with CANCELING in its history."""
    cancelled = any(each.state == "CANCELING" for each in run.state_history or [])
    return "CANCELED" if cancelled and run.state == "FAILED" else str(run.state)


def _failures(run: Any) -> str:
    """Which steps failed, with KFP's message where it has one."""
    details = (run.run_details.task_details if run.run_details else None) or []
    failed: dict[str, str] = {}
    for task in details:
        name = ATTEMPT.sub("", task.display_name or "")
        if task.state == "FAILED" and not _is_internal(name):
            failed[name] = (task.error.message if task.error else "") or failed.get(name, "")
    steps = [f"{name}: {message or 'failed'}" for name, message in sorted(failed.items())]
    return "; ".join(steps) or (run.error.message if run.error else "") or ""


def _is_internal(task: str) -> bool:
    """True for what KFP lists next to the steps and their drivers: pods, loops, conditions, the workflow."""
    if task.endswith("-driver"):
        return False
    workflows = "|".join(name.replace("_", "-") for name in compiled.names())
    return bool(INTERNAL.fullmatch(task) or re.fullmatch(f"({workflows}){SUFFIX}", task))
