"""What a check finds."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One thing that a run needs: how it stands, what was found, and what to mend."""

    name: str
    state: State
    found: str
    mend: str = ""
