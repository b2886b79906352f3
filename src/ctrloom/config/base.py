"""Base class of all configuration and JSON files: frozen models with readable validation errors."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from ctrloom.config.errors import UserError
from ctrloom.config.exact_types import exact, wrong_type

Model = TypeVar("Model", bound=BaseModel)


class ConfigError(UserError):
    """An invalid configuration; the message names the key and how to fix it."""

    from_inputs = True


class MachineError(ConfigError):
    """What is configured is not possible on this machine, or its environment is invalid."""

    from_inputs = False


class SectionError(UserError):
    """What is wrong in a section that is validated on its own: path in the section, and message."""

    def __init__(self, problems: Iterable[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.lines())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what the message is made of: workers of a comparison pass errors on."""
        return type(self), (self.problems,)

    def lines(self, *where: str) -> str:
        """One line per problem, which begins with `where`."""
        return "\n".join(": ".join(filter(None, (*where, *problem))) for problem in self.problems)


class StrictModel(BaseModel):
    """Base of all configuration: frozen, and unknown keys are an error.

    Numbers are finite, and neither text nor true and false are numbers; whole numbers may come as floats.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return exact(handler(source), cls)

    @classmethod
    def parse(cls, raw: Mapping[str, Any], where: str) -> Self:
        """Validate `raw`; all problems are reported in one ConfigError whose lines begin with `where`."""
        return parse(cls, raw, where)


def parse(cls: type[Model], raw: Any, where: str) -> Model:
    """Validate `raw` as `cls`; reports all problems, one per line after `where`, in a ConfigError."""
    try:
        return parse_section(cls, raw)
    except SectionError as error:
        raise ConfigError(error.lines(where)) from None


def parse_section(cls: type[Model], raw: Any, *inside: str) -> Model:
    """Validate `raw` as `cls` in a validator of the enclosing section, in which `inside` is its path.

    Raises:
        SectionError: `raw` is invalid; `parse` of the enclosing section reports the full path.
    """
    try:
        return cls.model_validate(raw)
    except ValidationError as error:
        problems = [each for problem in _causes(error) for each in _explain(cls, problem)]
        raise SectionError((_joined(*inside, path), message) for path, message in problems) from None


def _causes(error: ValidationError) -> list[Any]:
    """The errors without those of lists that are too short only because an item is invalid."""
    found = error.errors()
    parents = {problem["loc"][:-1] for problem in found}
    return [each for each in found if each["type"] != "too_short" or each["loc"] not in parents]


def not_among(names: Iterable[str], given: Any) -> str:
    """The message that a value is not one of `names`, with the nearest of them."""
    *others, last = (repr(name) for name in names)
    return _not_among(" or ".join(filter(None, (", ".join(others), last))), given)


def _explain(cls: type[BaseModel], problem: Any) -> Iterator[tuple[str, str]]:
    """Path and message of each problem in an error of pydantic."""
    path = _joined(*(str(part) for part in _named(cls, problem["loc"]) if part != "[key]"))
    context = problem.get("ctx", {})
    if isinstance(context.get("error"), SectionError):
        yield from ((_joined(path, inner), message) for inner, message in context["error"].problems)
    elif problem["type"] == "literal_error":
        yield path, _not_among(context["expected"], problem["input"])
    elif problem["type"] == "union_tag_invalid":
        key = context["discriminator"].strip("'")
        yield _joined(path, key), _not_among(context["expected_tags"], context["tag"])
    elif problem["type"] == "extra_forbidden":
        key, valid = str(problem["loc"][-1]), _keys_at(cls, problem["loc"][:-1])
        near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"valid keys are {', '.join(sorted(valid))}"
        yield path, f"unknown key {key!r}; {hint}"
    else:
        bounded = problem["type"].startswith(("greater_than", "less_than"))
        given = f", not {problem['input']!r}" if bounded else ""
        yield path, wrong_type(problem) or problem["msg"].removeprefix("Value error, ") + given


def _joined(*parts: str) -> str:
    return ".".join(filter(None, parts))


def _not_among(expected: str, given: Any) -> str:
    """`expected` is a list of quoted words."""
    near = difflib.get_close_matches(str(given), re.findall("'([^']+)'", expected), n=1, cutoff=0.5)
    return f"must be {expected}, not {given!r}" + (f"; did you mean {near[0]!r}?" if near else "")


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
