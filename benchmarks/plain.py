"""The settings of `configs/models/plain.yaml`, with which dated results were measured."""

from pathlib import Path
from typing import Any

from ctrloom.config.files import read_yaml

FILE = Path(__file__).parents[1] / "configs" / "models" / "plain.yaml"
PLAIN: dict[str, Any] = read_yaml(FILE)["models"]["default"]
