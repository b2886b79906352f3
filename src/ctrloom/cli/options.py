"""Options that many commands have."""

from typing import Annotated

import typer

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key, such as search.epochs=3; repeatable."),
]
Store = Annotated[str, typer.Option("--store", help="Folder, gs:// or s3:// where data sets are kept.")]


def pairs(settings: list[str] | None) -> list[tuple[str, str]]:
    """Key and value of each `--set KEY=VALUE`."""
    return [(key, value) for key, _, value in (setting.partition("=") for setting in settings or [])]
