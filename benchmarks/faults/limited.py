"""Runs `ctrloom` with few resources: `limited.py AS=200 NOFILE=32 -- ingest ...`.

AS is the address space in MiB beyond the present one, FSIZE the largest file in KiB, NOFILE the number of
file handles, GROUP the folder of a control group to join. CLOCK is the number of seconds by which the time
jumps at every tenth look at it, and back at the next; SPACING the seconds between checkpoints, which may
then take any share of the time. ENV=NAME=value sets a variable of the environment.
"""

import itertools
import os
import resource
import sys
import time
from pathlib import Path

from ctrloom.cli import main
from ctrloom.training.checkpoints import loop, stage


def limit(name: str, value: str) -> None:
    match name:
        case "AS":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            size = pages * resource.getpagesize() + (int(value) << 20)
            resource.setrlimit(resource.RLIMIT_AS, (size, size))
        case "FSIZE":
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(value) << 10, int(value) << 10))
        case "NOFILE":
            resource.setrlimit(resource.RLIMIT_NOFILE, (int(value), int(value)))
        case "GROUP":
            Path(value, "cgroup.procs").write_text(str(os.getpid()))
        case "SPACING":
            loop.SPACING = loop.AGAIN = float(value)
            stage.SHARE = 1e9
        case "ENV":
            os.environ.update([value.split("=", 1)])
        case "CLOCK":
            now, looks = time.time, itertools.count(1)
            time.time = lambda: now() + (int(value) if next(looks) % 10 == 0 else 0)
        case _:
            raise SystemExit(f"{name}: unknown limit")


if __name__ == "__main__":
    at = sys.argv.index("--")
    for each in sys.argv[1:at]:
        limit(*each.split("=", 1))
    sys.argv = ["ctrloom", *sys.argv[at + 1 :]]
    main()
