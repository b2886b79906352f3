"""A request for a run on a cluster: a compiled pipeline with its images, and its parameters."""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import fsspec
import yaml

from ctrloom.config import Files
from ctrloom.config.errors import UserError
from ctrloom.config.hardware import Hardware
from ctrloom.config.url_secrets import has_secret, revealed
from ctrloom.config.yaml_text import parse_yaml
from ctrloom.data.sources.files import is_stored, stored
from ctrloom.runners import compiled
from ctrloom.runners.placement import place

KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {  # types of KFP, and their names in messages
    "NUMBER_INTEGER": (int, "a whole number"),
    "NUMBER_DOUBLE": ((int, float), "a number"),
    "BOOLEAN": (bool, "true or false"),
    "LIST": (list, "a list, such as [0, 1]"),
    "STRUCT": (dict, "a mapping, such as {key: value}"),
}


class RequestError(UserError):
    """An invalid request for a run; the message names the parameter and how to fix it."""


@dataclass(frozen=True)
class PipelineRequest:
    """A pipeline and the values of its parameters; `body` is the pipeline as the API takes it."""

    pipeline: str
    body: dict[str, Any]
    parameters: dict[str, Any]

    @classmethod
    def of(
        cls,
        pipeline: str,
        offered: Mapping[str, Any],
        given: Mapping[str, str],
        image: str | None = None,
        gpu_image: str | None = None,
        cached: bool = True,
        hardware: Hardware | None = None,
    ) -> Self:
        """The request for a bundled pipeline, by its name.

        Values in `offered` that the pipeline has no parameter for are ignored; those in `given` (as text)
        are errors. `hardware` replaces the settings that the pipeline was compiled with.

        Raises:
            RequestError: no such pipeline or parameter, one without a value or of another type, or one with a
                password in it.
        """
        try:
            spec, platform = compiled.read(pipeline)
        except FileNotFoundError:
            there = ", ".join(compiled.names())
            raise RequestError(f"--pipeline: there is no {pipeline!r}; choose from {there}") from None
        declared = compiled.declared(pipeline)
        for name in given.keys() - declared.keys():
            near = difflib.get_close_matches(name, declared, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"its parameters are {', '.join(declared)}"
            raise RequestError(f"--parameter: {pipeline} has no {name!r}; {hint}")
        read = {name: _value(name, text, declared[name]["parameterType"]) for name, text in given.items()}
        values = {name: value for name, value in {**offered, **read}.items() if name in declared}
        missing = [n for n, its in declared.items() if n not in values and not its.get("isOptional")]
        if missing:
            raise RequestError(
                f"{pipeline} needs {', '.join(missing)}: give it with --parameter {missing[0]}=..."
            )
        for name, value in values.items():
            if has_secret(json.dumps(value)):
                raise RequestError(
                    f"{name}: has a password or signature in a URL, which everyone with access to the run "
                    "can read; grant access to the service account of the run instead"
                )
        compiled.remove_idle(spec, values)
        if hardware:
            place(spec, platform, hardware)
        compiled.use_images(spec, image, gpu_image)
        if not cached:
            compiled.forget_caching(spec)
        body = {"pipeline_spec": spec, "platform_spec": platform} if platform else spec
        return cls(spec["pipelineInfo"]["name"], body, values)

    @property
    def text(self) -> str:
        """The pipeline as a file."""
        documents = self.body.values() if "platform_spec" in self.body else [self.body]
        return yaml.safe_dump_all(documents, sort_keys=False)

    @property
    def version(self) -> str:
        """Hash of the pipeline."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]


def texts(settings: Iterable[str]) -> dict[str, str]:
    """Name and text of parameters given as NAME=VALUE, or NAME=@FILE.

    Raises:
        RequestError: one has no value, or its file cannot be read.
    """
    given = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise RequestError(f"--parameter {setting}: write NAME=VALUE")
        if name in given:
            raise RequestError(f"--parameter {name}: is given twice; give it one value")
        try:
            given[name] = Path(value[1:]).read_text(encoding="utf-8") if value.startswith("@") else value
        except OSError as error:
            raise RequestError(f"--parameter {name}: {value[1:]}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise RequestError(f"--parameter {name}: its value is not YAML") from None
    return given


def _value(name: str, text: str, kind: str) -> Any:
    """Parse the value of a parameter of a KFP type; a STRING may look like a number or a date."""
    if kind == "STRING":
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):
            return text
        return value if isinstance(value, str) else text
    value = parse_yaml(text, f"--parameter {name}")
    types, called = KINDS[kind]
    if not isinstance(value, types) or isinstance(value, bool) != (kind == "BOOLEAN"):
        raise RequestError(f"--parameter {name}: must be {called}, not {text!r}")
    return value


def revision(files: Files) -> str:
    """Hash of the names, sizes and versions of raw files.

    If they cannot be listed from here, the current time, so that no cached step is reused.
    """
    found = []
    try:
        for pattern in files.all:
            if is_stored(pattern):
                found += [(str(each.at), each.bytes, each.generation) for each in stored(pattern)]
                continue
            system, path = fsspec.url_to_fs(revealed(pattern))
            for name in sorted(system.glob(path) if "*" in path else [path]):
                its = system.info(name)
                state = next((its[k] for k in ("generation", "etag", "ETag", "mtime") if its.get(k)), None)
                if state is None:
                    raise OSError(name)
                found.append((name, its.get("size"), str(state)))
    except (OSError, ImportError, ValueError):  # StorageError is one
        return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


def six_fields(cron: str) -> str:
    """A cron expression with seconds first, as KFP expects it; five fields start at second 0.

    Raises:
        RequestError: neither five nor six fields, or an invalid field.
    """
    fields = cron.split()
    if len(fields) not in (5, 6) or not all(re.fullmatch(r"[\w*/,?#-]+", field) for field in fields):
        raise RequestError(
            f"--cron {cron!r}: write six fields, such as '0 0 2 * * *' for 2:00 every night: "
            "second, minute, hour, day, month, weekday"
        )
    return " ".join(["0"] * (6 - len(fields)) + fields)
