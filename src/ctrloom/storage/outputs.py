"""Where output may be written: not over an input, and not in place of a device."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ctrloom.storage.errors import StorageError

_DESCRIPTORS = ("/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/")


def is_stream(path: str | Path) -> bool:
    """True for a device, a FIFO or an open file such as /dev/stdout: it is written to, never replaced."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    if stat.S_ISREG(mode):
        return os.path.abspath(path).startswith(_DESCRIPTORS)  # links to open files, which may be regular
    return not stat.S_ISDIR(mode)


def require_apart(output: str | Path, inputs: Iterable[str | Path]) -> None:
    """Check that writing `output` replaces none of `inputs`, local files and folders; URLs are skipped.

    Raises:
        StorageError: it is one of them, also through a link, contains one, or is in one.
    """
    if is_stream(output):
        return
    own = Path(output).resolve()
    for each in inputs:
        if isinstance(each, str) and "://" in each:
            continue
        other = Path(each).resolve()
        linked = own.is_file() and other.is_file() and own.samefile(other)
        if linked or own.is_relative_to(other) or other.is_relative_to(own):
            how = "is also the input" if linked or own == other else "would change the input"
            raise StorageError(f"{output}: {how} {each}; write to another place")
