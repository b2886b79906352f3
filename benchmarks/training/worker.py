"""The protocol of measured processes: prepare, then measure on request.

Two processes that are compared alternate, so that other load affects both equally. After preparation, for
which ours waits for the line `prepare`, a process prints its facts. Then it reads `step` or `loop` from its
input and answers with the seconds of one call, until its input ends.
Peers import this file, so it uses only the standard library.
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
        peak: peak memory, in MiB.
        facts: further facts for the result.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # keeps output of libraries out of the answers

    def say(**answer: object) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    for call in calls.values():
        call()  # the first call allocates and compiles
    say(calls=list(calls), **facts)
    for line in sys.stdin:
        name = line.strip()
        if name == "prepare":
            continue  # done above
        if name == "step":  # warm up: memory may be cold or reclaimed after idling
            calls[name]()
        began, cpu = time.perf_counter(), time.process_time()
        own = calls[name]()
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        if isinstance(own, float):  # the call measured itself
            seconds = own
        say(seconds=seconds, cpu_seconds=cpu_seconds, rows=rows[name], peak_mib=round(peak()))
