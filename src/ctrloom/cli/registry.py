"""`ctrloom registry`: versions of models, and which of them is the champion."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from ctrloom.serving.registry import Registry, Version

app = typer.Typer(help="Versions of trained models, and which one is the champion.", no_args_is_help=True)

Url = Annotated[str, typer.Argument(help="Registry: a folder, gs://... or s3://...", show_default=False)]
Name = Annotated[str, typer.Argument(help="Version.", show_default=False)]


@app.command("list")
def list_(url: Url) -> None:
    """List the versions with model, AUC and days of the data, the newest last; the champion is marked."""
    registry = _registry(url)
    champion = registry.record()
    if not (versions := registry.versions()):
        print(f"{registry.base}: has no versions; check the name, or promote a bundle", file=sys.stderr)
    table = Table("version", "model", "AUC", "data (UTC)", "created (UTC)", "MB", "", box=None)
    for each in versions:
        mark = "champion" if champion and champion.version == each.version else ""
        size = sum(file.bytes for file in each.files) / 1e6
        when = f"{each.created:%Y-%m-%d %H:%M:%S}"
        table.add_row(each.version, *map(escape, _described(each)), when, f"{size:.1f}", mark)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@app.command()
def show(
    url: Url, version: Annotated[str | None, typer.Argument(help="Version; the champion by default.")] = None
) -> None:
    """Print a version as JSON: its files, metrics and provenance."""
    registry = _registry(url)
    print(registry.version(version or _champion(registry)[0]).model_dump_json(indent=1))


@app.command()
def promote(url: Url, version: Name) -> None:
    """Make a version the champion."""
    registry = _registry(url)
    champion = registry.champion()
    registry.promote(version, champion and champion[1])
    print(f"{version} is the champion (previous: {champion[0] if champion else 'none'})")


@app.command()
def rollback(
    url: Url,
    version: Annotated[str | None, typer.Argument(help="Version; the previous champion by default.")] = None,
) -> None:
    """Make an older version the champion again."""
    from ctrloom.serving.registry import RegistryError

    registry = _registry(url)
    champion, generation = _champion(registry)
    record = registry.record()
    to = version or (record.previous if record else None)
    if to is None:
        raise RegistryError(f"{url}: {champion} has no previous champion; name the version to promote")
    registry.promote(to, generation)
    print(f"{to} is the champion (previous: {champion})")


def _described(version: "Version") -> tuple[str, str, str]:
    """Title, AUC on the rows of the gate, or else on validation rows, and days of the data."""
    origin, measured = version.provenance, version.metrics.get("auc")
    auc, rows = (measured, "test") if measured is not None else (origin.get("valid_auc"), "valid")
    first, last = origin.get("days") or ("", "")
    days = "-" if not first else first if first == last else f"{first} to {last}"
    return str(origin.get("title") or "-"), "-" if auc is None else f"{auc:.4f} ({rows})", days


def _registry(url: str) -> "Registry":
    from ctrloom.serving.registry import Registry

    return Registry(url)


def _champion(registry: "Registry") -> tuple[str, str]:
    from ctrloom.serving.registry import RegistryError

    if found := registry.champion():
        return found
    raise RegistryError(f"{registry.base}: has no champion yet; promote a version")
