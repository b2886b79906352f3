"""Commands for scheduled retraining and regression evaluation."""

from pathlib import Path
from typing import Annotated

import typer

from ctrloom.cli.options import PIPELINES, RETRAINING, Engine, Settings, Store, pairs
from ctrloom.config.base import ConfigError
from ctrloom.config.files import load_compare_config, load_retraining_config

app = typer.Typer()
Config = Annotated[Path, typer.Argument(help="Retraining configuration (YAML).", show_default=False)]
Until = Annotated[
    str, typer.Option(help="Last day of the window: 2026-11-30, today or yesterday, by `timezone`.")
]
Output = Annotated[Path, typer.Option("--output", help="Folder to write.", show_default=False)]
Ingested = Annotated[
    str, typer.Option(help="Manifest that ingest or ingest-window wrote.", show_default=False)
]
Champion = Annotated[Path, typer.Option("--champion", help="Folder that champion wrote.", show_default=False)]
DatasetManifest = Annotated[
    str, typer.Option("--dataset", help="Manifest that grow wrote.", show_default=False)
]
Registry = Annotated[str, typer.Option(help="Registry: a folder, gs://... or s3://...", show_default=False)]


@app.command(rich_help_panel=RETRAINING)
def scheduled_retrain(
    config: Config,
    until: Until = "yesterday",
    output: Annotated[
        Path | None, typer.Option(help="Folder to write; retraining/<name>/<day> by default.")
    ] = None,
    settings: Settings = None,
) -> None:
    """Train the champion's architecture on a window of days; replace the champion if the gate passes."""
    from ctrloom.data.ingest.date_window import last_day
    from ctrloom.runners.retraining import retrain_local

    loaded = load_retraining_config(config, pairs(settings))
    folder = output or Path("retraining") / loaded.name / last_day(until, loaded.data.timezone).isoformat()
    verdict = retrain_local(loaded, until, folder)
    print(verdict.reason)
    print(f"Report: {folder / 'report.html'}")


@app.command(rich_help_panel=RETRAINING)
def ingest_window(
    config: Config,
    until: Until = "yesterday",
    store: Store = "data/store",
    engine: Engine = None,
    settings: Settings = None,
) -> None:
    """Read the files of a window of days; prints the path of the manifest."""
    from ctrloom import stages, storage
    from ctrloom.data.ingest.date_window import last_day, windowed

    loaded = load_retraining_config(config, pairs(settings, engine))
    window = windowed(loaded.data, last_day(until, loaded.data.timezone), loaded.days)
    print(stages.ingest(window, storage.place(store), loaded))


@app.command(rich_help_panel=RETRAINING)
def champion(registry: Registry, output: Output) -> None:
    """Fetch the champion's bundle and the record of its promotion."""
    from ctrloom import stages

    print(stages.champion(registry, output).name)


@app.command(rich_help_panel=RETRAINING)
def grow(
    config: Config,
    ingested: Ingested,
    champion: Champion,
    store: Store = "data/store",
    engine: Engine = None,
    settings: Settings = None,
) -> None:
    """Encode rows with the champion's vocabularies, appending new values; prints the manifest's path."""
    from ctrloom import stages, storage

    loaded = load_retraining_config(config, pairs(settings, engine))
    print(stages.grow(ingested, champion / "bundle", loaded.growth, storage.place(store), loaded))


@app.command(rich_help_panel=RETRAINING)
def drift(
    config: Config, dataset: DatasetManifest, champion: Champion, output: Output, settings: Settings = None
) -> None:
    """Compare a window with the champion's training rows; writes drift.json and drift.html."""
    from ctrloom import stages

    loaded = load_retraining_config(config, pairs(settings))
    found = stages.drift(dataset, champion / "bundle", loaded.drift, output)
    print("\n".join(found.alarms) or "No threshold is exceeded.")


@app.command(rich_help_panel=RETRAINING)
def refresh(
    config: Config, dataset: DatasetManifest, champion: Champion, output: Output, settings: Settings = None
) -> None:
    """Train the champion's architecture on a window; writes runs/ and bundle/."""
    from ctrloom import stages, storage

    loaded = load_retraining_config(config, pairs(settings))
    with storage.locked(output):
        stages.refresh(dataset, champion / "bundle", loaded.training, output / "runs", output / "bundle")
    print(output / "bundle")


@app.command(rich_help_panel=RETRAINING)
def gate(
    config: Config,
    ingested: Ingested,
    challenger: Annotated[Path, typer.Option(help="Bundle of the challenger.", show_default=False)],
    output: Output,
    champion: Annotated[
        Path | None, typer.Option(help="Folder that champion wrote; omit it if there is no champion yet.")
    ] = None,
    settings: Settings = None,
) -> None:
    """Decide whether a challenger replaces the champion; exit status 1 if it does not."""
    from ctrloom import stages

    loaded = load_retraining_config(config, pairs(settings))
    verdict = stages.gate(ingested, challenger, champion, loaded.gate, output)
    print((output / "verdict.md").read_text(encoding="utf-8"), end="")
    raise typer.Exit(0 if verdict.promote else 1)


@app.command(rich_help_panel=RETRAINING)
def promote(
    registry: Registry,
    bundle: Annotated[Path, typer.Option(help="Folder of a trained model.", show_default=False)],
    verdict: Annotated[
        Path | None, typer.Option(help="verdict.json of the gate; without it, no gate is required.")
    ] = None,
) -> None:
    """Add a bundle to the registry and make it the champion; prints its version."""
    from ctrloom import stages

    print(stages.promote(registry, bundle, verdict))


@app.command(rich_help_panel=RETRAINING)
def report(
    drift: Annotated[Path, typer.Option(help="Folder that drift wrote.", show_default=False)],
    verdict: Annotated[Path, typer.Option(help="Folder that gate wrote.", show_default=False)],
    output: Output,
    name: Annotated[str, typer.Option(help="Name on the page.")] = "retraining",
) -> None:
    """Put drift and verdict on one page; writes report.html and report.md."""
    from ctrloom import stages

    stages.report(drift, verdict, name, output)
    print(output / "report.html")


@app.command(rich_help_panel=PIPELINES)
def regression(
    config: Annotated[Path, typer.Argument(help="Comparison (YAML).", show_default=False)],
    baseline: Annotated[Path, typer.Option(help="Stored figures (JSON).", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write; regression/<name> by default.")
    ] = None,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="Store the current figures in the baseline; keeps its tolerances."),
    ] = False,
    settings: Settings = None,
) -> None:
    """Run a comparison and check it against stored figures; exit status 1 if they got worse."""
    from ctrloom import storage
    from ctrloom.evaluation.regression import Tolerance, accepted, load_baseline, regression_markdown
    from ctrloom.evaluation.results import Results
    from ctrloom.runners.local import compare_local
    from ctrloom.runners.retraining import regression_local

    loaded = load_compare_config(config, pairs(settings))
    output = output or Path("regression") / loaded.name
    if not accept:
        if not baseline.exists():
            raise ConfigError(
                f"{baseline}: no figures are stored yet; store those of this version with --accept"
            )
        verdict = regression_local(loaded, load_baseline(baseline), output)
        print(regression_markdown(verdict), end="")
        raise typer.Exit(0 if verdict.passed else 1)
    tolerance = load_baseline(baseline).tolerance if baseline.exists() else Tolerance()
    with storage.locked(output):
        compare_local(loaded, output)
        stored = accepted(Results.load(output / "comparison" / "metrics.json"), tolerance)
    storage.write_record(baseline, stored)
    print(f"{len(stored.models)} models in {baseline}")
