"""Options shared by many commands."""

from typing import Annotated, Literal

import typer

from ctrloom.config.base import ConfigError

# Groups of commands in `ctrloom --help`.
PIPELINES, STAGES, DATA = "Pipelines", "Stages, one at a time", "Data"
RETRAINING, CLUSTER, REGISTRY = "Retraining", "Kubeflow Pipelines", "Registry"

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


def pairs(settings: list[str] | None, engine: str | None = None) -> list[tuple[str, str]]:
    """Key and value of each `--set KEY=VALUE`, and of `--engine`.

    Raises:
        ConfigError: one has no value.
    """
    given = [*(settings or []), *([f"engine={engine}"] if engine else [])]
    for setting in given:
        if "=" not in setting:
            raise ConfigError(f"--set {setting}: write KEY=VALUE, such as search.epochs=3")
    return [(key, value) for key, _, value in (setting.partition("=") for setting in given)]
