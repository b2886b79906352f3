"""What every measured process does: prepare, then measure whenever it is told to.

Two processes that are measured side by side take turns, so that both meet the same machine. A process says
what it is once it has prepared, for which ours waits to be told `prepare`. Then it reads `step` or `loop`
from its input and answers with the seconds that one call took, and ends when its input does.
Peers import this file, so it needs nothing but Python.
"""

import json
import sys
import time
from collections.abc import Callable

from memory import peak_mib


def serve(
    rows: dict[str, int],
    calls: dict[str, Callable[[], object]],
    peak: Callable[[], float] = peak_mib,
    **facts: object,
) -> None:
    """Answer on the standard output until the standard input ends.

    Args:
        rows: how many rows each call trains on.
        calls: what to measure, by name.
        peak: most memory so far, in MiB.
        facts: what else the result should say.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer

    def say(**answer: object) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    for call in calls.values():
        call()  # the first has allocations and compilations that no later one has
    say(calls=list(calls), **facts)
    for line in sys.stdin:
        name = line.strip()
        if name == "prepare":
            continue  # it has
        if name == "step":  # first of a turn: memory that lay idle meanwhile may be cold, or taken away
            calls[name]()
        began, cpu = time.perf_counter(), time.process_time()
        own = calls[name]()
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        if isinstance(own, float):  # the call knows better which of its seconds count
            seconds = own
        say(seconds=seconds, cpu_seconds=cpu_seconds, rows=rows[name], peak_mib=round(peak()))
