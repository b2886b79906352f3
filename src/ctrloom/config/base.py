"""Base class of all configuration and JSON files: frozen models with readable validation errors."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError


class ConfigError(ValueError):
    """An invalid configuration; the message names the key and how to fix it."""


class StrictModel(BaseModel):
    """Base of all configuration: frozen, and unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def parse(cls, raw: Mapping[str, Any], where: str) -> Self:
        """Validate `raw`; all problems are reported in one ConfigError whose lines begin with `where`."""
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise ConfigError(
                "\n".join(_explain(cls, problem, where) for problem in error.errors())
            ) from None


def _explain(cls: type[BaseModel], problem: Any, where: str) -> str:
    path = ".".join(str(part) for part in _named(cls, problem["loc"]) if part != "[key]")
    if problem["type"] == "literal_error":
        return _not_among(f"{where}: {path}", problem["ctx"]["expected"], problem["input"])
    if problem["type"] == "union_tag_invalid":
        key, context = problem["ctx"]["discriminator"].strip("'"), problem["ctx"]
        return _not_among(f"{where}: {path}.{key}", context["expected_tags"], context["tag"])
    if problem["type"] != "extra_forbidden":
        return f"{where}: {path + ': ' if path else ''}{problem['msg'].removeprefix('Value error, ')}"
    key, valid = str(problem["loc"][-1]), _keys_at(cls, problem["loc"][:-1])
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"valid keys are {', '.join(sorted(valid))}"
    return f"{where}: {path}: unknown key {key!r}; {hint}"


def _not_among(what: str, expected: str, given: Any) -> str:
    """`expected` is a list of quoted words."""
    near = difflib.get_close_matches(str(given), re.findall("'([^']+)'", expected), n=1, cutoff=0.5)
    return f"{what}: must be {expected}, not {given!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _named(cls: type[BaseModel], loc: tuple[Any, ...]) -> list[Any]:
    """The parts of `loc` that appear in a file: without the tags of unions."""
    return [
        part
        for i, part in enumerate(loc)
        if not (i + 1 < len(loc) and _is_tag(_sections_at(cls, loc[:i]), part))
    ]


def _keys_at(cls: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """Valid keys of the section at `loc`."""
    return sorted({name for section in _sections_at(cls, loc) for name in section.model_fields})


def _sections_at(cls: type[BaseModel], loc: tuple[Any, ...]) -> list[type[BaseModel]]:
    """Possible types of the section at `loc`; tags of unions select one, keys of mappings are skipped."""
    candidates: list[type[BaseModel]] = [cls]
    for part in loc:
        inner = [
            s
            for c in candidates
            if part in c.model_fields
            for s in _sections(c.model_fields[part].annotation)
        ]
        candidates = inner or [c for c in candidates if _is_tag([c], part)] or candidates
    return candidates


def _is_tag(candidates: list[type[BaseModel]], part: Any) -> bool:
    """True if `part` is the tag of one of these union members."""
    named = any(part in c.model_fields for c in candidates)
    return not named and any(
        part in get_args(field.annotation) for c in candidates for field in c.model_fields.values()
    )


def _sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [s for argument in getattr(annotation, "__args__", ()) for s in _sections(argument)]
