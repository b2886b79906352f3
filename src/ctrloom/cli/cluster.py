"""Commands that start runs on Kubeflow Pipelines, and wait for them."""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ctrloom.cli.options import CLUSTER, Settings, pairs
from ctrloom.config import METHODS, ClusterConfig, CompareConfig, Files, RunConfig
from ctrloom.config.base import ConfigError, StrictModel
from ctrloom.config.batch import BatchConfig
from ctrloom.config.files import (
    load_batch_config,
    load_cluster_config,
    load_compare_config,
    load_retraining_config,
    load_run_config,
)
from ctrloom.config.retraining import RetrainingConfig
from ctrloom.interruption import advise

if TYPE_CHECKING:
    from ctrloom.runners.cluster import Cluster
    from ctrloom.runners.request import PipelineRequest

# The configuration class of each pipeline; the others use RunConfig.
KINDS: dict[str, type[StrictModel]] = {
    "batch_predict": BatchConfig,
    "compare": CompareConfig,
    "regression_eval": CompareConfig,
    "scheduled_retrain": RetrainingConfig,
}
LATE = 124  # exit status of a wait that timed out, like that of `timeout`

app = typer.Typer()
Config = Annotated[Path, typer.Argument(help="Configuration of the pipeline (YAML).", show_default=False)]
Where = Annotated[
    Path | None,
    typer.Option("--cluster", help="YAML with endpoint, namespace, image, ...", envvar="CTRLOOM_CLUSTER"),
]
Pipeline = Annotated[
    str | None,
    typer.Option(help="Pipeline to run; that of search.method by default.", show_default=False),
]
Hardware = Annotated[
    Path | None,
    typer.Option(help="YAML that overrides nodes, retries and environment of the steps."),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", metavar="NAME=VALUE", help="Parameter of the pipeline; repeatable."),
]
Image = Annotated[str | None, typer.Option(help="Image of the steps, such as registry/ctrloom-python:1.2.")]
Name = Annotated[str | None, typer.Option(help="Name in the UI; that of the configuration by default.")]
Cached = Annotated[bool, typer.Option(help="Reuse finished steps of earlier runs with the same inputs.")]
Timeout = Annotated[float, typer.Option(min=1, help="Maximum seconds to wait.")]


@app.command(rich_help_panel=CLUSTER)
def submit(
    config: Config,
    cluster: Where = None,
    pipeline: Pipeline = None,
    parameter: Parameters = None,
    image: Image = None,
    hardware: Hardware = None,
    name: Name = None,
    cached: Cached = True,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the run to finish; fail if it fails.")
    ] = False,
    timeout: Timeout = 86_400,
    settings: Settings = None,
) -> None:
    """Start a run on Kubeflow Pipelines; prints its id, and its URL to standard error."""
    from ctrloom.runners.cluster import Cluster

    where = _cluster(cluster, image, hardware)
    named, request = _asked(config, settings, pipeline, where, parameter, cached)
    there = Cluster(where)
    started = there.submit(request, name or f"{named} {datetime.now():%Y-%m-%d %H:%M:%S}")
    print(started)
    print(there.page(started), file=sys.stderr)
    if wait:
        _await(there, started, timeout)


@app.command(rich_help_panel=CLUSTER)
def schedule(
    config: Config,
    cron: Annotated[
        str,
        typer.Option(
            help="Cron expression: six fields, seconds first, such as '0 0 2 * * *'; or five.",
            show_default=False,
        ),
    ],
    cluster: Where = None,
    pipeline: Pipeline = None,
    parameter: Parameters = None,
    image: Image = None,
    hardware: Hardware = None,
    name: Name = None,
    cached: Cached = False,
    catch_up: Annotated[
        bool, typer.Option("--catch-up", help="Also start the runs that were missed, one by one.")
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=10, help="Maximum concurrent runs.")] = 1,
    settings: Settings = None,
) -> None:
    """Create a recurring run; replaces one of the same name, and prints its id."""
    from ctrloom.runners.cluster import Cluster
    from ctrloom.runners.request import six_fields

    where, fields = _cluster(cluster, image, hardware), six_fields(cron)
    if fields != cron:
        print(f"--cron: five fields have no seconds; taken as '{fields}'", file=sys.stderr)
    named, request = _asked(config, settings, pipeline, where, parameter, cached)
    called = name or named
    recurring, changed = Cluster(where).schedule(request, called, fields, catch_up, concurrency)
    print(recurring)
    print(f"{called}: {'scheduled' if changed else 'already scheduled'}, '{fields}'", file=sys.stderr)


@app.command("wait", rich_help_panel=CLUSTER)
def wait_for(
    run: Annotated[str, typer.Argument(help="Id of a run, as submit prints it.", show_default=False)],
    cluster: Where = None,
    timeout: Timeout = 86_400,
) -> None:
    """Wait for a run to finish; exit status 0 if it succeeded, 1 if not, 124 after the timeout."""
    from ctrloom.runners.cluster import Cluster

    _await(Cluster(_cluster(cluster)), run, timeout)


def _cluster(path: Path | None, image: str | None = None, hardware: Path | None = None) -> ClusterConfig:
    given = {"image": image, "hardware": hardware}
    loaded = load_cluster_config(path, os.environ)
    return loaded.model_copy(update={key: value for key, value in given.items() if value})


def _asked(
    config: Path,
    settings: list[str] | None,
    pipeline: str | None,
    where: ClusterConfig,
    parameter: list[str] | None,
    cached: bool,
) -> tuple[str, "PipelineRequest"]:
    """The configuration's name, and the request for its pipeline."""
    from ctrloom import stages
    from ctrloom.runners.batch import batch_arguments
    from ctrloom.runners.local import arguments, comparison_arguments
    from ctrloom.runners.placement import load_hardware
    from ctrloom.runners.request import PipelineRequest, revision, texts

    store, kind = where.store or "", KINDS.get(pipeline or "", RunConfig)
    given = texts(parameter or [])
    sections = {key: given.pop(key) for key in given.keys() & kind.model_fields.keys()}
    chosen = pairs(settings, parameters=sections)
    loaded: RunConfig | CompareConfig | RetrainingConfig | BatchConfig
    if kind is CompareConfig:
        loaded = load_compare_config(config, chosen)
        stages.require_feasible(loaded, here=False)
        offered = comparison_arguments(loaded, store)
    elif kind is BatchConfig:
        loaded = load_batch_config(config, chosen)
        offered = batch_arguments(loaded, store)
    elif kind is RetrainingConfig:
        loaded = load_retraining_config(config, chosen)
        offered = {**loaded.model_dump(mode="json", exclude_none=True), "store": store}
    else:
        loaded = load_run_config(config, chosen)
        loaded = loaded.with_tuning() if pipeline == "tune" else loaded
        stages.require_feasible(loaded, here=False)
        offered = arguments(loaded, store)
        pipeline = _search_pipeline(loaded.search.method, pipeline)
    assert pipeline, "only a run configuration has a default pipeline"
    if not where.store:
        del offered["store"]
    if isinstance(loaded, BatchConfig):
        key, files = "files", Files(train=loaded.files)
    else:
        key, files = "data.files", loaded.data.files
    if cached:
        offered["revision"] = revision(files)
    if local := [name for name in files.all if "://" not in name]:
        print(
            f"{key}: {local[0]}: a local path, which must also exist in the pods of the steps",
            file=sys.stderr,
        )
    events = None if isinstance(loaded, BatchConfig) else loaded.tracking and loaded.tracking.tensorboard
    if events and "://" not in events:
        print(
            f"tracking.tensorboard: {events}: a local path, which is lost with the pod of the step; "
            "give a gs:// or s3:// URL, or the path of a volume",
            file=sys.stderr,
        )
    hardware = load_hardware(where.hardware) if where.hardware else None
    images = where.image, where.gpu_image
    return loaded.name, PipelineRequest.of(pipeline, offered, given, *images, cached, hardware)


def _search_pipeline(method: str, named: str | None) -> str:
    """The pipeline of a search method, or `named` if that does not belong to another method."""
    its = METHODS[method].pipeline
    if named != its and named in {METHODS[name].pipeline for name in METHODS}:
        raise ConfigError(
            f"--pipeline {named}: search.method is {method!r}, whose pipeline is {its}; leave --pipeline out"
        )
    return named or its


def _await(cluster: "Cluster", run: str, timeout: float) -> None:
    advise(f"the run continues on the cluster; wait for it again with: ctrloom wait {run}")
    outcome = cluster.wait(run, timeout, say=lambda text: print(text, file=sys.stderr))
    if outcome is None:
        print(f"{run}: still running after {timeout:,.0f} seconds", file=sys.stderr)
        raise typer.Exit(LATE)
    if outcome.state != "SUCCEEDED":
        said = f": {outcome.said}" if outcome.said else ""
        print(f"{run}: {outcome.state}{said}\n{cluster.page(run)}\n{cluster.logs(run)}", file=sys.stderr)
        raise typer.Exit(1)
