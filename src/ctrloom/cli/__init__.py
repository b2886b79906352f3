"""The command line: `ctrloom run` and `ctrloom compare`, and the commands of the other modules."""

import os
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal

import typer
from rich.console import Console

from ctrloom import interruption, memory
from ctrloom.cli import batch, cluster, data, doctor, export, registry, retraining, serve, stages, track
from ctrloom.cli.options import PIPELINES, REGISTRY, Engine, Settings, pairs
from ctrloom.config.base import ConfigError
from ctrloom.config.environment import make_fast, positive_int
from ctrloom.config.errors import UserError
from ctrloom.config.files import load_compare_config, load_run_config
from ctrloom.config.url_secrets import redacted
from ctrloom.progress import follows

app = typer.Typer(
    help="Find the feature interactions that a CTR model needs, and prove that they help.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(stages.app)
app.add_typer(data.app)
app.add_typer(registry.app, name="registry", rich_help_panel=REGISTRY)
app.add_typer(cluster.app)
app.add_typer(doctor.app)
app.add_typer(export.app)
app.add_typer(retraining.app)
app.add_typer(batch.app)
app.add_typer(serve.app)
app.add_typer(track.app)

Config = Annotated[Path, typer.Argument(help="Run configuration (YAML).", show_default=False)]

# Commands that torchrun may start with several processes.
BY_SEVERAL = (
    "search",
    "search-interactions",
    "search-embeddings",
    "retrain",
    "transfer",
    "baselines",
    "refresh",
)


# What a user can do after a command was stopped
AGAIN = "run the same command again"
RESUMES = {
    **dict.fromkeys(
        ("run", "scheduled-retrain", "regression"), f"{AGAIN} to resume after its finished steps"
    ),
    "compare": f"{AGAIN} to resume after its finished jobs",
    "batch-predict": f"{AGAIN} to resume after its finished files",
    "tune": f"{AGAIN} to resume after its finished trials",
    "serve": "requests in flight were answered",
    **dict.fromkeys(BY_SEVERAL, f"{AGAIN} to continue from its checkpoints"),
}


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ctrloom {version('ctrloom')}")
        raise typer.Exit


@app.callback()
def _before_a_command(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    command, processes = context.invoked_subcommand, positive_int("WORLD_SIZE")
    interruption.advise(RESUMES.get(command or "", AGAIN))
    if processes > 1 and command not in BY_SEVERAL:
        raise ConfigError(
            f"{command} runs in one process, but torchrun started {processes}: start it without torchrun; "
            f"several processes can run {', '.join(BY_SEVERAL)}"
        )


@app.command(rich_help_panel=PIPELINES)
def run(
    config: Config,
    output: Annotated[Path | None, typer.Option(help="Run directory.")] = None,
    runner: Annotated[
        Literal["process", "container", "cluster"],
        typer.Option(help="Run steps as local processes, local containers, or pods on a cluster."),
    ] = "process",
    image: Annotated[
        str | None,
        typer.Option(
            envvar="CTRLOOM_IMAGE",
            help=f"Image of the steps; locally ctrloom-python:{version('ctrloom')} by default.",
            show_default=False,
        ),
    ] = None,
    container_options: Annotated[
        list[str] | None,
        typer.Option(
            "--container-option",
            metavar="OPTION",
            help="Option of `podman run`, such as --gpus=all; repeatable.",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Folder, gs:// or s3:// for data sets; a URL also receives the results, as runs/<name>."
        ),
    ] = None,
    cluster_file: cluster.Where = None,
    engine: Engine = None,
    settings: Settings = None,
) -> None:
    """Run the whole pipeline; local results go to the run directory (runs/<name>).

    A stopped run resumes after its finished steps, unless something they depend on changed. With
    --runner cluster, it is the same as `submit --wait`.
    """
    from ctrloom import storage
    from ctrloom.cli.results import summarise
    from ctrloom.runners.containers import ContainerOptions
    from ctrloom.runners.local import run_local
    from ctrloom.stages.evaluation import planted

    if runner == "cluster":
        chosen = ["=".join(pair) for pair in pairs(settings, engine)]
        cluster.submit(config, cluster_file, image=image, wait=True, settings=chosen)
        return
    loaded = load_run_config(config, pairs(settings, engine))
    output = output or Path("runs") / loaded.name
    image = image or f"ctrloom-python:{version('ctrloom')}"
    containers = ContainerOptions(image, tuple(container_options or ())) if runner == "container" else None
    truth = planted(loaded.evaluation)
    with storage.locked(output):  # the summary is that of this run
        run_local(loaded, output, containers, store)
        summarise(output, truth, loaded.expected, Console())


@app.command(rich_help_panel=PIPELINES)
def compare(
    config: Annotated[Path, typer.Argument(help="Comparison (YAML).", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write; comparisons/<name> by default.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Jobs to run in parallel.")] = 1,
    pipeline: Annotated[
        bool, typer.Option("--pipeline", help="Run the jobs as steps of the KFP pipeline; starts over.")
    ] = False,
    settings: Settings = None,
) -> None:
    """Train many methods and models over seeds and write one table; resumes a stopped comparison."""
    from ctrloom import storage
    from ctrloom.cli.results import models_table, print_verdict
    from ctrloom.evaluation.failed_entries import require_complete
    from ctrloom.evaluation.results import Results
    from ctrloom.report.table_verdict import table_verdict
    from ctrloom.report.tuning import sentence
    from ctrloom.runners.compare import run_comparison

    loaded = load_compare_config(config, pairs(settings))
    output = output or Path("comparisons") / loaded.name
    if pipeline:
        from ctrloom.runners.local import compare_local

        with storage.locked(output):
            compare_local(loaded, output)
            results = Results.load(output / "comparison" / "metrics.json")
    else:
        results = run_comparison(loaded, output, workers)
    console = Console()
    console.print(models_table(results))
    print_verdict(table_verdict(results), console)
    console.print(sentence(results.tuning), highlight=False)
    console.print(f"Table: {output / 'comparison' / 'comparison.html'}", soft_wrap=True)
    require_complete(results)


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback without the secrets of URLs in it."""
    print(redacted("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def main() -> None:
    """Entry point: an error that users can fix is one message and exit status 2.

    Any other exception keeps its traceback, and CTRLOOM_DEBUG=1 keeps it always.
    With several processes, only rank 0 prints it, or the rank whose error has its number as a note.
    """
    make_fast()
    silent = False
    try:
        if silent := follows():
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        with memory.explained(), interruption.stoppable(AGAIN, silent):
            app()
    except Exception as error:
        sys.excepthook = _print_traceback
        if os.environ.get("CTRLOOM_DEBUG") == "1" or not isinstance(error, UserError | OSError):
            raise
        notes = getattr(error, "__notes__", [])
        if notes or not silent:
            print(f"ctrloom: {redacted(str(error))}", *(f"({note})" for note in notes), file=sys.stderr)
        sys.exit(2)
