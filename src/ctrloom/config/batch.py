"""The configuration of a batch prediction."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ctrloom.config.base import StrictModel
from ctrloom.config.url_secrets import hidden


class BatchConfig(StrictModel):
    """Files to score, with a bundle or with the champion of a registry, to a folder of predictions."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    files: Annotated[tuple[str, ...], Field(min_length=1)]  # paths, globs or URLs; {date}: see `until`
    bundle: str | None = None  # folder or URL; on a cluster, both can be pipeline parameters instead
    registry: str | None = None
    output: str | None = None  # folder or URL; scores/<name> in the store by default
    keep: tuple[str, ...] = ()  # columns of the files to write with the scores
    format: Literal["parquet", "csv", "csv.gz"] = "parquet"
    until: str | None = None  # last day that `{date}` stands for: 2026-11-30, today or yesterday
    days: Annotated[int, Field(ge=1, le=36_500)] = 1  # number of days, including the last one
    timezone: str = "UTC"  # of today and yesterday

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "files" not in raw:
            return raw
        files = raw["files"]
        listed = [files] if isinstance(files, str) else files
        if isinstance(listed, list | tuple):
            listed = [hidden(name) if isinstance(name, str) else name for name in listed]
        return {**raw, "files": listed}

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.bundle and self.registry:
            raise ValueError("registry: there is a bundle already; remove one of them")
        return self
