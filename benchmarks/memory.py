"""The memory of a process; peers import this too, so it needs nothing but Python."""

import re
import resource
from pathlib import Path


def peak_mib() -> float:
    """Most memory that this process had so far, in MiB.

    Linux counts a new process' `ru_maxrss` from that of the one that started it, so it is the answer only
    elsewhere.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # in bytes on macOS
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.M)
    assert found, "Linux tells the most memory of a process"
    return int(found[1]) / 1024
