"""`ctrloom track`: show a finished run in MLflow or TensorBoard."""

from pathlib import Path
from typing import Annotated

import typer

from ctrloom.cli.options import PIPELINES

app = typer.Typer()


@app.command(rich_help_panel=PIPELINES)
def track(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of a finished run, comparison, tuning or retraining.", show_default=False
        ),
    ],
    mlflow: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            envvar="MLFLOW_TRACKING_URI",
            help="MLflow: address of a server, or sqlite:///FILE.",
            show_default=False,
        ),
    ] = None,
    experiment: Annotated[str, typer.Option(help="Experiment in MLflow.")] = "ctrloom",
    registered_model: Annotated[
        str | None,
        typer.Option(help="Also make the bundle a version of this registered model.", show_default=False),
    ] = None,
    tensorboard: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="TensorBoard: folder, gs:// or s3:// of its event files.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of a tuning or retraining; that of the folder by default.", show_default=False
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="Limit of time.")] = 3_600,
) -> None:
    """Show a finished run in MLflow or TensorBoard; updates what is there of the same run."""
    from ctrloom.config.base import ConfigError
    from ctrloom.storage import StorageError, read_json
    from ctrloom.tracking import Places, TrackingConfig
    from ctrloom.tracking import track as show

    if not mlflow and not tensorboard:
        raise ConfigError("--mlflow, --tensorboard: name at least one of them")
    if not folder.is_dir():
        raise StorageError(f"{folder}: no such folder; give that of a finished run")
    server = {"uri": mlflow, "experiment": experiment, "registered_model": registered_model}
    given = {"mlflow": server if mlflow else None, "tensorboard": tensorboard, "seconds": seconds}
    config, known = TrackingConfig.parse(given, "track"), folder / "config.json"
    written = read_json(known) if known.is_file() else None
    called = name or (written.get("name") if isinstance(written, dict) else None) or folder.resolve().name
    if not show(config, str(called), Places.of(folder)):
        raise typer.Exit(1)
