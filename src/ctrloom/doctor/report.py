"""Reports of all checks: a table for terminals, JSON for programs, Markdown for the Kubeflow UI."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from ctrloom.doctor.checks import Check

COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


def failed(checks: Sequence[Check]) -> bool:
    """True if a run would fail."""
    return any(check.state == "fail" for check in checks)


def show(checks: Sequence[Check], console: Console) -> None:
    """Print a table."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "check", "found", "to fix"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        state = f"[{COLORS[check.state]}]{check.state}[/]"
        table.add_row(state, check.name, check.found.replace("[", r"\["), check.fix.replace("[", r"\["))
    console.print(table)


def as_json(checks: Sequence[Check]) -> str:
    """One JSON object: `ok`, and the list of checks."""
    return json.dumps({"ok": not failed(checks), "checks": [asdict(check) for check in checks]}, indent=1)


def as_markdown(checks: Sequence[Check]) -> str:
    """A Markdown table."""
    rows = [
        " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in (c.state, c.name, c.found, c.fix))
        for c in checks
    ]
    lines = ["state | check | found | to fix", "---|---|---|---", *rows]
    return "\n".join(f"| {line} |" for line in lines) + "\n"
