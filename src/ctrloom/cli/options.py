"""Options shared by many commands."""

from collections.abc import Mapping
from typing import Annotated, Literal

import typer

from ctrloom.config.base import ConfigError

# Groups of commands in `ctrloom --help`.
PIPELINES, STAGES, DATA = "Pipelines", "Stages, one at a time", "Data"
RETRAINING, CLUSTER, REGISTRY = "Retraining", "Kubeflow Pipelines", "Registry"
SERVING = "Serving"

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key, such as search.epochs=3; repeatable."),
]
Store = Annotated[str, typer.Option("--store", help="Folder, gs:// or s3:// where data sets are kept.")]


Engine = Annotated[
    Literal["duckdb", "spark"] | None,
    typer.Option(
        help="Engine that counts crosses and encodes: duckdb (local) or spark; by default, as configured.",
        show_default=False,
    ),
]


def pairs(
    settings: list[str] | None, engine: str | None = None, parameters: Mapping[str, str] | None = None
) -> list[tuple[str, str]]:
    """Key and value of each `--set KEY=VALUE`, of `--engine`, and of sections given with `--parameter`.

    Raises:
        ConfigError: one has no key or no value, or two set the same key.
    """
    given = [("--set", *setting.partition("=")) for setting in settings or []]
    given += [("--engine", "engine", "=", engine)] if engine else []
    given += [("--parameter", key, "=", value) for key, value in sorted((parameters or {}).items())]
    found: dict[str, tuple[str, str]] = {}
    for option, key, equals, value in given:
        if not equals or not all(part == part.strip() != "" for part in key.split(".")):
            raise ConfigError(f"{option} {key}{equals}{value}: write KEY=VALUE, such as search.epochs=3")
        for other, (its, _) in found.items():
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                raise ConfigError(f"{option} {key}: {its} {other} sets it too; give each key one value")
        found[key] = option, value
    return [(key, value) for key, (_, value) in found.items()]
