from collections.abc import Callable
from typing import Any

from ctrloom.config import DataConfig

Write = Callable[[str, "str | bytes"], str]
CLICKS = {"click": "label", "user": "categorical", "age": "numeric"}
HEADER = "click,user,age\n"


def data_config(files: Any, columns: dict[str, Any], **keys: Any) -> DataConfig:
    return DataConfig.parse({"files": files, "columns": columns, **keys}, "test")


def clicks(rows: int, start: int = 0) -> str:
    """Lines `click,user,age` in which every third row is a click."""
    return "".join(f"{int(i % 3 == 0)},u{i % 7},{i % 50}\n" for i in range(start, start + rows))
