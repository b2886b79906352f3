"""Peak memory of a process; peers import this too, so it uses only the standard library."""

import re
import resource
from pathlib import Path


def peak_mib() -> float:
    """Peak resident memory of this process, in MiB.

    On Linux `ru_maxrss` of a new process includes that of its parent, so it is used only on other systems.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # in bytes on macOS
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.M)
    assert found, "no VmHWM in /proc/self/status"
    return int(found[1]) / 1024
