"""Run the whole pipeline on this machine, through KFP's local subprocess runner."""

import io
import re
import shutil
import sys
from contextlib import redirect_stdout
from importlib.resources import files
from pathlib import Path
from typing import TextIO

from ctrloom import storage
from ctrloom.config import Hyperparameters, RunConfig
from ctrloom.progress import MARK

PIPELINE = "search_and_retrain.yaml"
STEPS = "steps"
OUTPUTS = {  # place in the run directory -> task and artifact that it comes from
    "architecture.json": ("search-autofis", "search/architecture.json"),
    "search.json": ("search-autofis", "search/search.json"),
    "bundle": ("retrain", "bundle"),
    "transfer": ("transfer", "bundles"),
    "metrics.json": ("evaluate", "evaluation/metrics.json"),
    "predictions.parquet": ("evaluate", "evaluation/predictions.parquet"),
    "report.html": ("evaluate", "evaluation/report.html"),
}
ANSI = re.compile(r"\x1b\[[0-9;]*m")
ERROR = re.compile(r"(?:[\w.]+\.)?\w+Error: (.+)")
STEP = re.compile(r"Executing task '?([\w-]+)'?")
TASKS = ("ingest", "vocabulary", "search-autofis", "retrain", "transfer", "baselines", "evaluate")


class RunError(ValueError):
    """A step of the pipeline failed; the message names it and says where its log is."""


def arguments(config: RunConfig, store: Path) -> dict[str, object]:
    """Parameters of the pipeline: the sections of a run configuration, and the store."""
    whole = config.model_dump(
        mode="json", exclude_none=True, exclude={"searches", "expected"}
    )  # KFP takes no null
    names = {*config.baselines, *config.transfer, config.search.base}
    chosen = {name: Hyperparameters.of(config.models, name) for name in names}
    whole["models"] = {n: h.model_dump(mode="json", exclude_none=True) for n, h in sorted(chosen.items())}
    return {**whole, "store": str(store), "run": whole}


def run_local(config: RunConfig, output: Path) -> None:
    """Run every step in a process of its own, and gather the results in the run directory `output`.

    Raises:
        RunError: a step failed, or KFP is not installed.
    """
    try:
        from kfp import components, local
    except ImportError:
        raise RunError("running the pipeline needs KFP: pip install 'ctrloom[pipelines]'") from None

    output = output.resolve()
    steps = output / STEPS
    for place in (STEPS, *OUTPUTS):  # nothing of an earlier run may pass for this one's
        shutil.rmtree(output / place, ignore_errors=True)
        if (output / place).is_file():
            (output / place).unlink()
    steps.mkdir(parents=True)
    pipeline = components.load_component_from_text((files("ctrloom.pipelines") / PIPELINE).read_text())
    storage.write_json(output / "config.json", config.model_dump(mode="json"))
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(steps))
    log_file = output / "log.txt"
    with open(log_file, "w", encoding="utf-8") as log, redirect_stdout(_Console(log)) as console:
        try:
            pipeline(**arguments(config, output / "data"))
        except RuntimeError as error:
            step = next((task for task in TASKS if task not in _done(steps)), "evaluate")
            raise RunError(
                f"step {step}: {console.error or error}\n(the whole log is in {log_file})"
            ) from None
    _gather(steps, output)


def _gather(steps: Path, output: Path) -> None:
    """Move the results where the run directory has them; a SUCCESS of KFP does not prove that a step ran."""
    folders = _done(steps)
    if missing := [task for task in TASKS if task not in folders]:
        raise RunError(f"step {missing[0]!r} failed; what it said is at the end of {output / 'log.txt'}")
    for place, (task, artifact) in OUTPUTS.items():
        source, target = folders[task] / artifact, output / place
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)


def _done(steps: Path) -> dict[str, Path]:
    """Folders of the steps that ended well."""
    return {path.parent.name: path.parent for path in steps.glob("*/*/executor_output.json")}


class _Console(io.TextIOBase):
    """Standard output while KFP runs: everything goes to the log, progress lines also to the terminal.

    On a terminal the lines of one piece of work overwrite each other.
    """

    def __init__(self, log: TextIO) -> None:
        self.log, self.terminal, self.rest, self.shown = log, sys.stderr, "", ""
        self.step = self.error = ""  # the step that runs, and the last error message that one printed

    def write(self, text: str) -> int:
        self.log.write(text)
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self._line(ANSI.sub("", line).strip())
        return len(text)

    def flush(self) -> None:
        self.log.flush()

    def _line(self, line: str) -> None:
        if match := STEP.search(line):
            self.step = match[1]
        if match := ERROR.match(line):
            self.error = match[1]
        if not line.startswith(MARK):
            return
        title = line.partition(":")[0]
        over = "\r\033[K" if title == self.shown and self.terminal.isatty() else "\n" if self.shown else ""
        end = "" if self.terminal.isatty() else "\n"
        self.terminal.write((over if not end else "") + line + end)
        self.terminal.flush()
        self.shown = title
