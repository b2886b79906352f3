"""The command of a run with every step in a container, and the containers that it has or left behind."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from ctrloom.runners.containers import LABEL

IMAGE = os.environ.get("CTRLOOM_IMAGE", f"ctrloom-python:{version('ctrloom')}")
IN_CONTAINERS = (
    *("--runner", "container", "--image", IMAGE),
    "--container-option=--env=OMP_NUM_THREADS=1",  # sums over threads round differently
)
COMMAND = (sys.executable, "-m", "ctrloom", "run", "run.yaml", *IN_CONTAINERS)


def containers_of(engine: str, output: Path, *options: str) -> list[str]:
    """Ids of the running containers of a run; with the option --all also of those that ended."""
    command = [engine, "ps", "--quiet", f"--filter=label={LABEL}={output}", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
