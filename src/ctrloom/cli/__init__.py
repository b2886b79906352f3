"""The command line: `ctrloom run` for the whole pipeline, and one command per stage."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml
from rich.console import Console

from ctrloom.cli import cluster, doctor, registry, retraining
from ctrloom.cli.options import DATA, PIPELINES, REGISTRY, STAGES, Engine, Settings, Store, pairs
from ctrloom.config import AIMConfig, RunConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.environment import positive_int
from ctrloom.config.files import load_compare_config, load_run_config
from ctrloom.progress import follows

app = typer.Typer(
    help="Find the feature interactions that a CTR model needs, and prove that they help.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Public data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data", rich_help_panel=DATA)
app.add_typer(registry.app, name="registry", rich_help_panel=REGISTRY)
app.add_typer(cluster.app)
app.add_typer(doctor.app)
app.add_typer(retraining.app)

Config = Annotated[Path, typer.Argument(help="Run configuration (YAML).", show_default=False)]
Manifest = Annotated[
    str, typer.Option("--dataset", help="Manifest of the encoded data set: path or URL.", show_default=False)
]
Output = Annotated[Path, typer.Option("--output", help="Folder to write.", show_default=False)]
Search = Annotated[Path, typer.Option("--search", help="Folder that search wrote.", show_default=False)]

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
    if processes > 1 and command not in BY_SEVERAL:
        raise ConfigError(
            f"{command} runs in one process, but torchrun started {processes}: start it without torchrun; "
            f"several processes can run {', '.join(BY_SEVERAL)}"
        )


def _load(config: Path, settings: list[str] | None, engine: str | None = None) -> RunConfig:
    return load_run_config(config, pairs(settings, engine))


def _aim(config: RunConfig) -> AIMConfig:
    if not isinstance(config.search, AIMConfig):
        raise ConfigError(f"search.method: only aim has separate search stages, not {config.search.method!r}")
    return config.search


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
    from ctrloom.cli.summary import summarise
    from ctrloom.runners.containers import Request
    from ctrloom.runners.local import run_local
    from ctrloom.stages.evaluation import planted

    if runner == "cluster":
        chosen = ["=".join(pair) for pair in pairs(settings, engine)]
        cluster.submit(config, cluster_file, image=image, wait=True, settings=chosen)
        return
    loaded = _load(config, settings, engine)
    output = output or Path("runs") / loaded.name
    image = image or f"ctrloom-python:{version('ctrloom')}"
    request = Request(image, tuple(container_options or ())) if runner == "container" else None
    run_local(loaded, output, request, store)
    summarise(output, planted(loaded.evaluation), loaded.expected, Console())


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
    from ctrloom.cli.summary import models_table
    from ctrloom.evaluation.results import Results

    loaded = load_compare_config(config, pairs(settings))
    output = output or Path("comparisons") / loaded.name
    if pipeline:
        from ctrloom.runners.local import compare_local

        compare_local(loaded, output)
    else:
        from ctrloom.runners.compare import run_comparison

        run_comparison(loaded, output, workers)
    console = Console()
    console.print(models_table(Results.load(output / "comparison" / "metrics.json")))
    console.print(f"Table: {output / 'comparison' / 'comparison.html'}", soft_wrap=True)


@app.command(rich_help_panel=STAGES)
def ingest(
    config: Config, store: Store = "data/store", engine: Engine = None, settings: Settings = None
) -> None:
    """Read raw files into clean, typed, split Parquet; prints the path of the manifest."""
    from ctrloom import stages

    loaded = _load(config, settings, engine)
    print(stages.ingest(loaded.data, store, loaded))


@app.command(rich_help_panel=STAGES)
def vocabulary(
    config: Config,
    ingested: Annotated[
        str | None,
        typer.Option(help="Manifest that ingest wrote; without it, ingest runs first.", show_default=False),
    ] = None,
    store: Store = "data/store",
    engine: Engine = None,
    settings: Settings = None,
) -> None:
    """Fit vocabularies on the training split and encode all splits; prints the path of the manifest."""
    from ctrloom import stages
    from ctrloom.data.dataset import Dataset
    from ctrloom.data.size_check import compared

    loaded = _load(config, settings, engine)
    clean = ingested or stages.ingest(loaded.data, store, loaded)
    manifest = stages.vocabulary(clean, loaded.vocabulary, store, loaded)
    if loaded.expected:
        dataset = Dataset.open(manifest)
        sizes = [field.size for field in dataset.schema.fields]
        print("\n".join(compared(loaded.expected, sizes, dataset.manifest.rows)), file=sys.stderr)
    print(manifest)


@app.command(rich_help_panel=STAGES)
def search(config: Config, dataset: Manifest, output: Output, settings: Settings = None) -> None:
    """Search feature interactions; writes architecture.json, search.json and the control selections."""
    from ctrloom import stages

    loaded = _load(config, settings)
    found = stages.search(dataset, loaded.search, loaded.models, output)
    for order in found.orders:
        print(f"order {order}: kept {len(found.of_order(order))}")
    print(output / "architecture.json")


@app.command(rich_help_panel=STAGES)
def search_interactions(config: Config, dataset: Manifest, output: Output, settings: Settings = None) -> None:
    """Search interactions and their functions (AIM's first stage); writes the same files as search."""
    from ctrloom import stages

    loaded = _load(config, settings)
    stages.aim_search_interactions(dataset, _aim(loaded), loaded.models, output)
    print(output / "architecture.json")


@app.command(rich_help_panel=STAGES)
def search_embeddings(
    config: Config, dataset: Manifest, search: Search, output: Output, settings: Settings = None
) -> None:
    """Search embedding sizes (AIM's second stage); writes the same files as search."""
    from ctrloom import stages

    loaded = _load(config, settings)
    stages.aim_search_embeddings(dataset, search, _aim(loaded), loaded.models, output)
    print(output / "architecture.json")


@app.command(rich_help_panel=STAGES)
def retrain(
    config: Config, dataset: Manifest, search: Search, output: Output, settings: Settings = None
) -> None:
    """Train the found model and its controls with every seed; writes runs/ and bundle/."""
    from ctrloom import stages

    loaded = _load(config, settings)
    stages.retrain(dataset, search, loaded.models, loaded.seeds, output / "runs", output / "bundle")
    print(output)


@app.command(rich_help_panel=STAGES)
def transfer(
    config: Config, dataset: Manifest, search: Search, output: Output, settings: Settings = None
) -> None:
    """Train other models over the found interactions; writes runs/ and bundles/."""
    from ctrloom import stages

    loaded = _load(config, settings)
    runs, bundles = output / "runs", output / "bundles"
    stages.transfer(dataset, search, loaded.transfer, loaded.models, loaded.seeds, runs, bundles)
    print(output)


@app.command(rich_help_panel=STAGES)
def baselines(config: Config, dataset: Manifest, output: Output, settings: Settings = None) -> None:
    """Train models that use all pairs of fields, or none; writes runs/."""
    from ctrloom import stages

    loaded = _load(config, settings)
    stages.baselines(dataset, loaded.baselines, loaded.models, loaded.seeds, output / "runs")
    print(output)


@app.command(rich_help_panel=STAGES)
def evaluate(
    config: Config,
    dataset: Manifest,
    search: Search,
    runs: Annotated[
        list[Path], typer.Option(help="Folder of trained models; repeatable.", show_default=False)
    ],
    output: Output,
    settings: Settings = None,
) -> None:
    """Compare trained models on the same rows; writes metrics.json, predictions.parquet and report.html."""
    from ctrloom import stages

    loaded = _load(config, settings)
    whole = loaded.model_dump(mode="json")
    stages.evaluate(dataset, search, runs, loaded.seeds, loaded.evaluation, loaded.name, whole, output)
    print(output / "report.html")


@app.command(rich_help_panel=STAGES)
def predict(
    bundle: Annotated[
        str, typer.Option(help="Folder, gs:// or s3:// of a trained model.", show_default=False)
    ],
    input: Annotated[
        list[str], typer.Option(help="Raw rows: path, glob or URL; repeatable.", show_default=False)
    ],
    output: Annotated[Path, typer.Option(help="Parquet file to write.", show_default=False)],
    cache: Annotated[
        Path, typer.Option(help="Cache of bundles from an object store; changed bundles are fetched again.")
    ] = Path("~/.cache/ctrloom"),
) -> None:
    """Score raw rows with a bundle."""
    from ctrloom import storage
    from ctrloom.serving.predict import predict as score

    done = score(storage.cached(storage.place(bundle), cache.expanduser()), input, output)
    print(f"{done.rows:,} rows, {done.malformed:,} of them malformed, to {output}")


@app.command(rich_help_panel=DATA)
def synth(
    output: Annotated[Path, typer.Option(help="Folder for clicks.csv and truth.json.")] = Path("data/demo"),
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="rows, fields, sizes, pairs, triples, noise, zipf, ..."
        ),
    ] = None,
) -> None:
    """Make clicks with planted interactions."""
    from ctrloom.data.synthetic import SynthConfig, synthesize

    raw: dict[str, Any] = {}
    for key, value in pairs(settings):
        raw[key] = yaml.safe_load(value)
    print(synthesize(SynthConfig.parse(raw, "synth"), output))


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="frappe, movielens-100k, ...", show_default=False)],
    to: Annotated[Path | None, typer.Option(help="Folder to write; data/<name> by default.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Take the files from this folder.")] = None,
) -> None:
    """Fetch a public data set, verify it, and prepare its files."""
    from ctrloom.data.recipes import get

    get(name, to or Path("data") / name, from_)


def main() -> None:
    """Entry point: an error that users can fix is one message and exit status 2.

    CTRLOOM_DEBUG=1 keeps the traceback.
    With several processes, only rank 0 prints it, or the rank whose error has its number as a note.
    """
    if follows():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        app()
    except (ValueError, OSError, yaml.YAMLError) as error:
        if os.environ.get("CTRLOOM_DEBUG") == "1":
            raise
        notes = getattr(error, "__notes__", [])
        if notes or not follows():
            print(f"ctrloom: {error}", *(f"({note})" for note in notes), file=sys.stderr)
        sys.exit(2)
