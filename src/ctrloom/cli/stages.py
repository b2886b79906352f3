"""One command per stage of the pipeline."""

import csv
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from ctrloom.cli.options import STAGES, Engine, Settings, Store, pairs
from ctrloom.config import AIMConfig, RunConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.files import load_compare_config, load_run_config, read_yaml

app = typer.Typer()
Config = Annotated[Path, typer.Argument(help="Run configuration (YAML).", show_default=False)]
Manifest = Annotated[
    str, typer.Option("--dataset", help="Manifest of the encoded data set: path or URL.", show_default=False)
]
Output = Annotated[Path, typer.Option("--output", help="Folder to write.", show_default=False)]
Tuned = Annotated[
    Path | None,
    typer.Option("--tuned", help="Folder that tune wrote; train with its best settings.", show_default=False),
]
Search = Annotated[Path, typer.Option("--search", help="Folder that search wrote.", show_default=False)]


def _load(config: Path, settings: list[str] | None, engine: str | None = None) -> RunConfig:
    return load_run_config(config, pairs(settings, engine))


def _aim(config: RunConfig) -> AIMConfig:
    if not isinstance(config.search, AIMConfig):
        raise ConfigError(f"search.method: only aim has separate search stages, not {config.search.method!r}")
    return config.search


@app.command(rich_help_panel=STAGES)
def ingest(
    config: Config, store: Store = "data/store", engine: Engine = None, settings: Settings = None
) -> None:
    """Read raw files into clean, typed, split Parquet; prints the path of the manifest."""
    from ctrloom import api

    print(api.ingest(_load(config, settings, engine), store))


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
    from ctrloom import api
    from ctrloom.data.size_check import compared

    loaded = _load(config, settings, engine)
    dataset = api.encode(loaded, ingested, store)
    if loaded.expected:
        sizes = [field.size for field in dataset.schema.fields]
        print("\n".join(compared(loaded.expected, sizes, dataset.manifest.rows)), file=sys.stderr)
    print(dataset.path)


@app.command(rich_help_panel=STAGES)
def search(config: Config, dataset: Manifest, output: Output, settings: Settings = None) -> None:
    """Search feature interactions; writes architecture.json, search.json and the control selections."""
    from ctrloom import api

    found = api.search(_load(config, settings), dataset, output)
    for order in found.orders:
        print(f"order {order}: kept {len(found.of_order(order))}")
    if found.is_empty:
        print("no interaction found")
    print(output / "architecture.json")


@app.command(rich_help_panel=STAGES)
def search_interactions(config: Config, dataset: Manifest, output: Output, settings: Settings = None) -> None:
    """Search interactions and their functions (AIM's first stage); writes the same files as search."""
    from ctrloom import stages, storage

    loaded = _load(config, settings)
    with storage.locked_output(output):
        stages.aim_search_interactions(dataset, _aim(loaded), loaded.models, output)
    print(output / "architecture.json")


@app.command(rich_help_panel=STAGES)
def search_embeddings(
    config: Config, dataset: Manifest, search: Search, output: Output, settings: Settings = None
) -> None:
    """Search embedding sizes (AIM's second stage); writes the same files as search."""
    from ctrloom import stages, storage

    loaded = _load(config, settings)
    with storage.locked_output(output):
        stages.aim_search_embeddings(dataset, search, _aim(loaded), loaded.models, output)
    print(output / "architecture.json")


@app.command(rich_help_panel=STAGES)
def tune(
    config: Annotated[
        Path, typer.Argument(help="Configuration of a run or comparison (YAML).", show_default=False)
    ],
    output: Output,
    dataset: Annotated[
        str | None,
        typer.Option(help="Manifest of the encoded data set: path or URL.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model, or entry of a comparison, to tune; by default all.", show_default=False),
    ] = None,
    search: Annotated[
        Path | None,
        typer.Option(help="Folder that search wrote; by default, search if needed.", show_default=False),
    ] = None,
    pipeline: Annotated[
        bool,
        typer.Option(
            "--pipeline", help="Run every trial as a step of a pipeline that starts with raw files."
        ),
    ] = False,
    settings: Settings = None,
) -> None:
    """Tune hyper-parameters on validation rows, with the same budget for every model; writes tuning.json."""
    from ctrloom import api, storage
    from ctrloom.report.tuning import lines
    from ctrloom.tuning.record import Tuning

    given = pairs(settings)
    compares = "entries" in read_yaml(config)
    if pipeline:
        from ctrloom.runners.local import tune_local

        with storage.locked(output):
            tune_local(load_run_config(config, given), output)
            tuned = Tuning.load(output)
    elif dataset is None:
        raise ConfigError("--dataset: give the manifest of the encoded data set, or --pipeline")
    else:
        loaded = load_compare_config(config, given) if compares else load_run_config(config, given)
        tuned = api.tune(loaded, dataset, output, model, search)
    print(*lines(tuned.summary()), output / "tuning.json", sep="\n")


@app.command(rich_help_panel=STAGES)
def retrain(
    config: Config,
    dataset: Manifest,
    search: Search,
    output: Output,
    tuned: Tuned = None,
    settings: Settings = None,
) -> None:
    """Train the found model and its controls with every seed; writes runs/ and bundle/."""
    from ctrloom import api

    api.retrain(_load(config, settings), dataset, search, output, tuned)
    print(output)


@app.command(rich_help_panel=STAGES)
def transfer(
    config: Config,
    dataset: Manifest,
    search: Search,
    output: Output,
    tuned: Tuned = None,
    settings: Settings = None,
) -> None:
    """Train other models over the found interactions; writes runs/ and bundles/."""
    from ctrloom import api

    api.transfer(_load(config, settings), dataset, search, output, tuned)
    print(output)


@app.command(rich_help_panel=STAGES)
def baselines(
    config: Config, dataset: Manifest, output: Output, tuned: Tuned = None, settings: Settings = None
) -> None:
    """Train models that use all pairs of fields, or none; writes runs/."""
    from ctrloom import api

    api.baselines(_load(config, settings), dataset, output, tuned)
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
    tuned: Annotated[
        Path | None, typer.Option(help="Folder that tune wrote, for the report.", show_default=False)
    ] = None,
    settings: Settings = None,
) -> None:
    """Compare trained models on the same rows; writes metrics.json, predictions.parquet and report.html."""
    from ctrloom import api

    api.evaluate(_load(config, settings), dataset, search, runs, output, tuned)
    print(output / "report.html")


@app.command(rich_help_panel=STAGES)
def predict(
    bundle: Annotated[
        str, typer.Option(help="Folder, gs:// or s3:// of a trained model.", show_default=False)
    ],
    input: Annotated[
        list[str], typer.Option(help="Raw rows: path, glob or URL; repeatable.", show_default=False)
    ],
    output: Annotated[
        str,
        typer.Option(
            help="File (.parquet, .csv, .csv.gz), FOLDER/ for one file per input, or - for standard output; "
            "file and folder can be gs:// or s3://.",
            show_default=False,
        ),
    ],
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,NAME", help="Columns of the input to write with the scores.", show_default=False
        ),
    ] = None,
    format: Annotated[
        Literal["parquet", "csv", "csv.gz"] | None,
        typer.Option(help="Format of the files of a folder; parquet by default.", show_default=False),
    ] = None,
    cache: Annotated[
        Path, typer.Option(help="Cache of bundles from an object store; changed bundles are fetched again.")
    ] = Path("~/.cache/ctrloom"),
    report: Annotated[
        Path | None,
        typer.Option(
            help="JSON file to write: missing and unseen values of every field.", show_default=False
        ),
    ] = None,
) -> None:
    """Score raw rows with a bundle."""
    from ctrloom import storage
    from ctrloom.serving import api

    if report:
        storage.require_apart(report, [bundle, *input, output])
    is_stream = output == "-" or storage.is_stream(output)
    names = [name for names in csv.reader(keep or []) for name in names]
    try:
        done = api.predict(bundle, input, output, cache, names, format)
    except (BrokenPipeError, storage.StorageError) as error:
        if not (is_stream and isinstance(error.__cause__ or error, BrokenPipeError)):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it at its end
        raise typer.Exit(128 + signal.SIGPIPE) from None
    if report:
        storage.write_json(report, asdict(done))
    said = f"{done.rows:,} rows, {done.malformed:,} of them malformed, to {output}"
    print(said, file=sys.stderr if is_stream else sys.stdout)
