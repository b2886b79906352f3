"""The result of a check."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """Result of one check: its state, what was found, and how to fix it."""

    name: str
    state: State
    found: str
    fix: str = ""
