"""A value of any other type, anywhere in a file that ctrloom reads, is an error that names the file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from invented_results import made_up, made_up_trace

from ctrloom.config import CompareConfig, RunConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.files import read_yaml
from ctrloom.config.hardware import Hardware
from ctrloom.config.retraining import RetrainingConfig
from ctrloom.evaluation.results import Results
from ctrloom.runners.placement import load_hardware
from ctrloom.search_trace import SearchTrace

CONFIGS = Path(__file__).parents[1] / "configs"
OTHER: list[Any] = [
    None,
    3,
    -1.5,
    True,
    "x",
    [],
    [1],
    [[]],
    [{}],
    {},
    {"a": 1},
    {"a": {"b": []}},
    {"method": [1]},
]
TRACE = made_up_trace().model_dump(mode="json")
OLD_TRACE = {
    **{key: value for key, value in TRACE.items() if key != "path_scores"},
    "version": 1,
    "path_gates": TRACE["path_scores"],
    "candidates": [
        {"gate" if key == "score" else key: value for key, value in each.items()}
        for each in TRACE["candidates"]
    ],
}
FILES: dict[str, tuple[Any, Any]] = {
    "run": (RunConfig, read_yaml(CONFIGS / "demo.yaml")),
    "optinter": (RunConfig, read_yaml(CONFIGS / "frappe-optinter.yaml")),
    "comparison": (CompareConfig, read_yaml(CONFIGS / "regression" / "planted.yaml")),
    "retraining": (RetrainingConfig, read_yaml(CONFIGS / "retraining" / "daily.yaml")),
    "hardware": (Hardware, load_hardware().model_dump(mode="json")),
    "trace": (SearchTrace, TRACE),
    "old trace": (SearchTrace, OLD_TRACE),
    "results": (Results, made_up()[0].model_dump(mode="json")),
}


def places(value: Any) -> Iterator[tuple[Any, ...]]:
    """The path of every value; of a list, only its first items, as the others are alike."""
    yield ()
    items = (
        value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    )
    for key, inner in items:
        yield from ((key, *path) for path in places(inner))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("file", FILES)
def test_a_value_of_another_type_is_an_error_of_the_file(file: str) -> None:
    kind, raw = FILES[file]
    kind.parse(raw, "file.yaml")
    for path in places(raw):
        for other in OTHER:
            said = message(kind, replaced(raw, path, other), f"{json.dumps(other)} at {path}")
            assert all(line.startswith("file.yaml: ") for line in said.splitlines()), (path, other)


def message(kind: Any, raw: Any, what: str) -> str:
    """What the ConfigError says, if there is one; any other exception gets `what` as a note."""
    try:
        kind.parse(raw, "file.yaml")
    except ConfigError as error:
        return str(error)
    except Exception as error:
        error.add_note(what)
        raise
    return ""
