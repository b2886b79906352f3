"""The engine that counts crosses and encodes rows: DuckDB in this process, or Spark."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ctrloom.config.base import StrictModel
from ctrloom.config.url_secrets import reject_secrets

SECRET = re.compile(r"(password|passwd|token|secret|secret\.?key|access\.?key)$|account\.key\.", re.I)


class EngineConfig(StrictModel):
    """The engine of the data stages; both engines write identical data sets.

    Spark options use Spark's names without the prefix `spark.`, either nested or with dots.
    """

    engine: Literal["duckdb", "spark"] = "duckdb"
    spark: dict[str, str] = Field(default_factory=dict)  # {master: "local[4]", driver: {memory: 4g}}

    @model_validator(mode="before")
    @classmethod
    def _no_secrets(cls, raw: Any) -> Any:
        """Of any section but those in whose URLs they are hidden."""
        if isinstance(raw, Mapping):
            reject_secrets(raw, ("data.files", "tracking.mlflow.uri"))
        return raw

    @field_validator("spark", mode="before")
    @classmethod
    def _with_dots(cls, raw: Any) -> Any:
        return dict(_flat(raw, "")) if isinstance(raw, Mapping) else raw


def _flat(options: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in options.items():
        name = f"{prefix}{key}".removeprefix("spark.")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif not isinstance(value, str | int | float):
            raise ValueError(f"{name}: must be text, a number, true or false")
        elif SECRET.search(name):
            raise ValueError(
                f"{name}: is a secret, and the configuration is copied into what is made with it; set it in "
                "spark-defaults.conf, or in the environment"
            )
        else:
            yield name, str(value).lower() if isinstance(value, bool) else str(value)
