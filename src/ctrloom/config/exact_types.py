"""Types of values in configuration: nothing is converted to a number, to true or false, or to text."""

import json
import re
from numbers import Integral
from typing import Any

from pydantic import BaseModel
from pydantic_core import CoreSchema, core_schema

# What the types are called, by the beginning of the name of pydantic's errors.
CALLED = {
    "string_type": "text",
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
}


QUOTED = re.compile(r"[-+.\d][-+.\deE]*|true|false|yes|no|on|off", re.IGNORECASE)


def exact(schema: CoreSchema, cls: type[BaseModel]) -> CoreSchema:
    """The schema of `cls`, in which numbers and flags are taken from no other type.

    Whole numbers may come as floats, since some JSON parsers have no others.
    """
    changed: CoreSchema = _exact(schema, cls)
    return changed


def wrong_type(problem: Any) -> str:
    """The message for an error of pydantic about a type; empty for other errors."""
    called = next((text for kind, text in CALLED.items() if problem["type"].startswith(kind)), None)
    given = problem["input"]
    if called is None or not isinstance(given, bool | int | float | str | None):
        return ""
    shown = json.dumps(given) if given is None or isinstance(given, bool) else repr(given)
    way_out = ""
    if called == "text":
        way_out = f"; quote it: '{shown}', in a shell \"'{shown}'\""
    elif isinstance(given, str) and QUOTED.fullmatch(given):
        way_out = "; write it without quotes"
    return f"must be {called}, not {shown}{way_out}"


def _exact(node: Any, cls: type[BaseModel]) -> Any:
    if isinstance(node, list):
        return [_exact(each, cls) for each in node]
    if not isinstance(node, dict) or (node.get("type") == "model" and node["cls"] is not cls):
        return node  # other models have their own
    if node.get("type") == "float":
        return {**node, "strict": True}
    if node.get("type") in ("bool", "int"):
        convert = _flag if node["type"] == "bool" else _whole
        return core_schema.no_info_before_validator_function(convert, {**node, "strict": True})
    # Keys of mappings stay as they are: in JSON they are always text.
    kept = ("default", "metadata", "serialization", "keys_schema")
    return {key: value if key in kept else _exact(value, cls) for key, value in node.items()}


def _whole(value: Any) -> Any:
    whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
    return int(value) if whole and not isinstance(value, bool) else value


def _flag(value: Any) -> Any:
    return bool(value) if type(value).__name__ in ("bool", "bool_") else value  # the latter is NumPy's
