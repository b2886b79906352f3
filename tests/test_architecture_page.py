"""ARCHITECTURE.md names files and functions that exist."""

import importlib
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()


def test_every_function_of_a_walk_is_where_the_page_says() -> None:
    steps = re.findall(r"`([a-z_/]+)\.py`, ((?:`[\w.]+`(?: and )?)+)", TEXT)
    assert len(steps) > 15
    for module, names in steps:
        for name in re.findall(r"`([\w.]+)`", names):
            found = importlib.import_module(f"ctrloom.{module.replace('/', '.')}")
            for part in name.split("."):
                found = getattr(found, part)


def test_every_file_on_the_page_exists() -> None:
    files = set(re.findall(r"`([\w/]+/[\w/]+\.(?:py|yaml|md))`", TEXT)) - {"components/component.py"}
    missing = [
        file for file in files if not any((root / file).exists() for root in (ROOT, ROOT / "src/ctrloom"))
    ]
    assert missing == []
