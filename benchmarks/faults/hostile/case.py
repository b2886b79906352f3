"""A case of hostile input: files, a command, and the message or the result that it must have."""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from outcome import Outcome
from program import Done, Program

Content = str | bytes | Callable[[Path], None]  # of a file, or what makes it
Check = Callable[[Path, Done], bool]
INGEST = "ingest run.yaml --store store"
SECONDS = 20.0
LIMITS = ("AS=8000",)  # a runaway allocation fails instead of exhausting the machine


@dataclass(frozen=True)
class Case:
    """One case; `error` is a regular expression that the message matches, `check` examines the result.

    Without `error`, the command succeeds, and `warning` is in what it prints. `after` holds in any case, and
    `hidden` appears nowhere.
    """

    name: str
    files: Mapping[str, Content] = field(default_factory=dict)
    command: str = INGEST
    error: str = ""
    check: Check = lambda folder, done: True
    after: Check = lambda folder, done: True
    warning: str = ""
    hidden: str = ""
    slow: bool = False  # left out of the tests
    environment: tuple[str, ...] = ()  # NAME=value

    def run(self, program: Program, folder: Path, assets: Path) -> tuple[Outcome, str]:
        """The outcome in an empty folder; `assets` has a bundle and what else cases share."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(path)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)
        arguments = [part.replace("{assets}", str(assets)) for part in shlex.split(self.command)]
        limits = (*LIMITS, *(f"ENV={each}" for each in self.environment))
        return self.judge(folder, program.run(arguments, folder, limits, SECONDS))

    def judge(self, folder: Path, done: Done) -> tuple[Outcome, str]:
        """What came of it, and what was said."""
        told = done.out + done.err
        if done.failure:
            return done.failure, told
        if self.hidden and self.hidden in told + _written(folder):
            return Outcome.SILENT, f"{self.hidden} is shown: {told}"
        if self.error:
            if done.status == 0:
                return Outcome.SILENT, f"no error: {told}"
            found = re.search(self.error, done.err, re.I | re.S)
            lines = [line for line in done.err.splitlines() if not line.startswith("- ")]
            if not _holds(self.after, folder, done):
                return Outcome.SILENT, f"leaves something else: {done.err}"
            return (Outcome.DETECTED if found and lines else Outcome.LOST), f"says: {done.err}"
        if done.status != 0:
            return Outcome.LOST, f"is rejected: {done.err}"
        if not re.search(self.warning, told, re.I | re.S):
            return Outcome.SILENT, f"no warning: {told}"
        right = _holds(self.check, folder, done) and _holds(self.after, folder, done)
        return (Outcome.HARMLESS if right else Outcome.SILENT), f"other result: {told}"


def _holds(check: Check, folder: Path, done: Done) -> bool:
    try:
        return check(folder, done)
    except (OSError, ValueError):  # there is no such file, or another one
        return False


def _written(folder: Path) -> str:
    texts = (path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".yaml")
    return " ".join(text.decode(errors="replace") for text in texts)


def run_yaml(columns: Mapping[str, Any], **data: Any) -> str:
    """A run of `clicks.csv` without malformed rows; `data` are further keys of its section `data`."""
    section = {"files": "clicks.csv", "columns": dict(columns), "max_malformed": 0, **data}
    return yaml.safe_dump({"name": "hostile", "data": section}, sort_keys=False)


def ingested(folder: Path) -> list[dict[str, Any]]:
    """The rows of all splits."""
    parts = sorted(folder.glob("store/ingested-*/*/part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def rows_are(*expected: Sequence[Any], quarantined: int = 0) -> Callable[[Path, Done], bool]:
    """The ingested rows are these, in any order: the fields, and then the label."""

    def check(folder: Path, done: Done) -> bool:
        found = Counter(repr(tuple(row.values())) for row in ingested(folder))
        kept = folder.glob("store/ingested-*/quarantine.parquet")
        rejected = sum(pq.read_metadata(path).num_rows for path in kept)
        return found == Counter(map(repr, map(tuple, expected))) and rejected == quarantined

    return check
