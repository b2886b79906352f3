"""What came of a fault, and the counts of a kind of fault."""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum

FAULT_TRACE = re.compile(r"Traceback \(most recent call last\)|Fatal Python error|Segmentation fault")


class Outcome(StrEnum):
    """What came of one fault."""

    DETECTED = "detected"  # one message that names the cause, and a non-zero exit status
    HARMLESS = "harmless"  # the results are bit-identical to those without the fault
    SILENT = "silently wrong"  # other results, or torn ones, without an error
    LOST = "lost"  # once the fault is gone, the same command does not give the results, or a process is left
    TRACEBACK = "traceback"  # a stack trace, or the process crashed
    HANG = "hang"  # the time limit


FAILURES = (Outcome.SILENT, Outcome.LOST, Outcome.TRACEBACK, Outcome.HANG)


@dataclass
class Tally:
    """Outcomes of one kind of fault on one thing, and examples of its failures."""

    kind: str
    what: str
    counts: Counter[Outcome] = field(default_factory=Counter)
    failures: list[tuple[Outcome, str]] = field(default_factory=list)
    notes: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # with examples
    not_run: str = ""  # why nothing was tried

    def add(self, outcome: Outcome, example: str) -> None:
        """Count one outcome; `example` is how to see it again."""
        self.counts[outcome] += 1
        if outcome in FAILURES:
            self.failures.append((outcome, example))

    def as_json(self) -> str:
        """One line, which `read_tally` reads."""
        return json.dumps(vars(self))

    @property
    def tried(self) -> int:
        """Number of faults."""
        return self.counts.total()


def read_tally(line: str) -> Tally:
    """A tally from its line of JSON."""
    raw = json.loads(line)
    tally = Tally(raw["kind"], raw["what"], not_run=raw["not_run"])
    tally.counts.update({Outcome(name): count for name, count in raw["counts"].items()})
    tally.failures = [(Outcome(name), example) for name, example in raw["failures"]]
    tally.notes.update(raw["notes"])
    return tally
