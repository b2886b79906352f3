"""Which code made an artifact."""

import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def code_version() -> str:
    """Version of the package, with the commit where it runs from a checkout."""
    release = version("ctrloom")
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return release
    return f"{release}+{done.stdout.strip()}" if done.returncode == 0 else release
