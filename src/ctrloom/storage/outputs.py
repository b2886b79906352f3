"""Where output may be written: not over an input, and not in place of a device."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ctrloom.storage.errors import StorageError
from ctrloom.storage.location import Location, Place

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


def require_apart(output: str | Place, inputs: Iterable[str | Place]) -> None:
    """Check that writing `output` replaces none of `inputs`: files, folders, and URLs of object stores.

    Raises:
        StorageError: it is one of them, also through a link, contains one, or is in one.
    """
    own = _at(output)
    if own is None or (isinstance(own, Path) and is_stream(own)):
        return
    own = own.resolve()
    for each in inputs:
        if (other := _at(each)) is None:
            continue
        other = other.resolve()
        if _is_in(own, other) or _is_in(other, own):
            how = (
                "is also the input" if _is_in(own, other) and _is_in(other, own) else "would change the input"
            )
            raise StorageError(f"{output}: {how} {each}; write to another place")


def _at(where: str | Place) -> Place | None:
    """A path, or an object; None for a URL of another kind, which nothing is written to."""
    if not isinstance(where, str):
        return where
    scheme, found, path = where.removeprefix("file://").partition("://")
    if not found:
        return Path(scheme)
    return Location("gs" if scheme == "gs" else "s3", path.strip("/")) if scheme in ("gs", "s3") else None


def _is_in(inner: Place, outer: Place) -> bool:
    """True if a place is another, also through a link, or in it."""
    if isinstance(inner, Path) and isinstance(outer, Path):
        is_linked = inner.is_file() and outer.is_file() and inner.samefile(outer)
        return is_linked or inner.is_relative_to(outer)
    return str(inner) == str(outer) or str(inner).startswith(f"{outer}/")
