"""Commands that make or fetch data to try ctrloom on."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ctrloom.cli.options import DATA, pairs
from ctrloom.config.extras import training_packages
from ctrloom.config.files import setting

app = typer.Typer()
data_app = typer.Typer(help="Public data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data", rich_help_panel=DATA)


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
        raw[key] = setting(key, value)
    print(synthesize(SynthConfig.parse(raw, "synth"), output))


@data_app.command("get")
def data_get(
    name: Annotated[str, typer.Argument(help="frappe, movielens-100k, ...", show_default=False)],
    to: Annotated[Path | None, typer.Option(help="Folder to write; data/<name> by default.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Take the files from this folder.")] = None,
) -> None:
    """Fetch a public data set, verify it, and prepare its files."""
    with training_packages():
        from ctrloom.data.recipes import get

    get(name, to or Path("data") / name, from_)
