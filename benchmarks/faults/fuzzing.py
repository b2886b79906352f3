"""Runs the fuzz targets, each in its own process, and counts what escaped."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from fuzz.targets import TARGETS
from outcome import Outcome, Tally

TARGET = str(Path(__file__).parent / "fuzz")
DONE = re.compile(r"Done (\d+) runs|#(\d+)\s")
SLOW = 30  # seconds after which one input counts as a hang
MEMORY = 6_000  # MiB


def fuzzing(folder: Path, seconds: float, names: Sequence[str] | None) -> Iterator[Tally]:
    """Fuzz each target for some seconds; needs atheris."""
    for name in names or TARGETS:
        tally = Tally("fuzzing", f"{name}, {seconds:.0f} s")
        if find_spec("atheris") is None:
            tally.not_run = "atheris is not installed (the extra `fuzz`)"
            yield tally
            continue
        own = folder / name
        own.mkdir(parents=True)
        command = [sys.executable, TARGET, name, str(own), str(seconds), str(SLOW), str(MEMORY)]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, env=os.environ
        )
        for file in sorted(own.glob("failure-*.json")):
            failure = json.loads(file.read_text())
            tally.add(Outcome.TRACEBACK, f"{failure['error']}; input {failure['input']}")
        runs = max((int(a or b) for a, b in DONE.findall(done.stderr)), default=0)
        if "libFuzzer: timeout" in done.stderr:
            tally.add(Outcome.HANG, f"an input takes more than {SLOW} s")
        elif done.returncode or not runs:
            tally.add(Outcome.TRACEBACK, " ".join(done.stderr.splitlines()[-8:]))
        said = json.loads((own / "counts.json").read_text()) if (own / "counts.json").exists() else {}
        rejected = min(said.get("rejected", 0), runs)
        tally.counts[Outcome.DETECTED] += rejected
        tally.counts[Outcome.HARMLESS] += runs - rejected
        yield tally
