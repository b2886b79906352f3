"""The command for batch prediction as a pipeline."""

from pathlib import Path
from typing import Annotated

import typer

from ctrloom.cli.options import PIPELINES, Settings, pairs
from ctrloom.config.files import load_batch_config

app = typer.Typer()


@app.command(rich_help_panel=PIPELINES)
def batch_predict(
    config: Annotated[
        Path, typer.Argument(help="Configuration of a batch prediction (YAML).", show_default=False)
    ],
    until: Annotated[
        str | None,
        typer.Option(help="Last day of {date} in file names: 2026-11-30, today or yesterday, by `timezone`."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write; predictions/<name> by default.")
    ] = None,
    settings: Settings = None,
) -> None:
    """Score files with a bundle or a champion, one file of predictions each; skips what is scored."""
    from ctrloom.runners.batch import batch_local

    loaded = load_batch_config(config, pairs(settings))
    loaded = loaded.model_copy(update={"until": until}) if until else loaded
    done = batch_local(loaded, output or Path("predictions") / loaded.name)
    found = done.predicted
    print(f"{found.rows:,} rows of {len(found.files):,} files, {found.malformed:,} of them malformed")
    print(f"Predictions: {done.output}")
