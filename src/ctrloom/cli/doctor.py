"""The command that checks what a run needs before it starts."""

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ctrloom.cli.options import PIPELINES
from ctrloom.config.files import load_cluster_config

app = typer.Typer()


@app.command(rich_help_panel=PIPELINES)
def doctor(
    store: Annotated[
        str | None,
        typer.Option(help="Folder or URL in which data sets are kept; the cluster file's by default."),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Address of KFP; the cluster file's by default.")
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(help="YAML with endpoint, store, image, ...", envvar="CTRLOOM_CLUSTER"),
    ] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Require a GPU.")] = False,
    free: Annotated[float, typer.Option(min=0, help="Free disk space to require, in GB.")] = 5,
    constraints: Annotated[
        Path | None, typer.Option(help="File with the versions that were tested together.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check what a run needs, and report how to fix it; exit status 1 if a run would fail."""
    from ctrloom import doctor as checks

    where = load_cluster_config(cluster, os.environ)
    address, place = endpoint or where.endpoint, store or where.store
    token = os.environ.get("CTRLOOM_TOKEN")
    if not token and where.token_file:
        token = where.token_file.read_text(encoding="utf-8").strip()
    local = Path(place) if place and "://" not in place else Path(tempfile.gettempdir())
    found = [checks.packages(constraints), checks.image(), checks.gpu(gpu), checks.disk(local, free)]
    if place:
        found.append(checks.store(place))
    if address:
        found.append(checks.endpoint(address, token))
    if json:
        print(checks.as_json(found))
    else:
        checks.show(found, Console())
    if checks.failed(found):
        raise typer.Exit(1)
