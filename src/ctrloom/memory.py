"""Main memory: how much this process can have, and errors of too little as one line that names a way out."""

import errno
import re
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctrloom.config.errors import UserError

PROC, GROUPS, STAT = Path("/proc"), Path("/sys/fs/cgroup"), "memory.stat"
SMALL = 64 << 20  # bytes that are not worth a check
LEAST = 256 << 20  # of a stage; native libraries crash with less, instead of raising errors
FEW = "use more memory, end other processes, or raise the limit of this one (control group, ulimit -v)"
KILLED = f"it was killed (SIGKILL), usually because there was no more memory: {FEW}"
# Types by name, since not every process has loaded their libraries: torch's, and DuckDB's.
_TYPES = ("OutOfMemoryError", "OutOfMemoryException")
_TEXTS = re.compile(
    r"(can.?t|cannot|could not|unable to) allocate|not enough memory|out of memory|bad[ _]alloc"
    r"|can't start new thread|ALLOC_FAILED|failed to map segment",
    re.IGNORECASE,
)
_SIZE = re.compile(r"(?:(?:tried|unable) to allocate|of size) ([\d.]+) ?(?:([KMGTPE])iB)?", re.IGNORECASE)


class LowMemoryError(UserError):
    """There is too little memory; the message says for what, and what to reduce."""


def total() -> int:
    """Bytes of main memory that this process and its neighbours can have together."""
    return min(most for most, _ in _limits())


def available() -> int:
    """Bytes of main memory that are free for this process; what the system can give up counts as free."""
    return max(0, min(free for _, free in _limits()))


def require(needed: int, what: str, way_out: str) -> None:
    """Check that there is memory, before it is taken: the system may end a process that takes too much.

    Raises:
        LowMemoryError: there is not; it names `what`, its size, and `way_out`.
    """
    if needed > SMALL and needed > (there := available()):
        raise LowMemoryError(
            f"not enough memory for {what}: {_shown(needed)} needed, {_shown(there)} free; {way_out}"
        )


def is_low_memory(error: BaseException) -> bool:
    """True for the errors of Python, NumPy, torch, Arrow, DuckDB and the system about too little memory."""
    if isinstance(error, MemoryError) or type(error).__name__ in _TYPES:
        return True
    if isinstance(error, OSError):  # the loader of shared libraries gives no number
        return error.errno == errno.ENOMEM or "failed to map segment" in str(error)
    return not isinstance(error, UserError) and bool(_TEXTS.search(str(error)[:2000]))


@contextmanager
def explained(way_out: str = FEW, least: int = 0) -> Iterator[None]:
    """Turn errors of too little memory into LowMemoryError.

    Raises:
        LowMemoryError: there is less than `least` at the start, or the block takes more than there is.
    """
    require(least, "a step", FEW)
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not is_low_memory(error):
            raise
        size = _SIZE.search(str(error))
        wanted = float(size[1]) * 1024 ** " KMGTPE".index(size[2] or " ") if size else 0.0
        asked = f" ({_shown(wanted)} asked for)" if wanted > SMALL else ""
        where = "GPU memory" if "CUDA" in str(error) else "memory"
        raise LowMemoryError(f"not enough {where}{asked}; {way_out}") from error


def of_killed(status: int) -> str:
    """What probably happened to a process with this exit status; empty if it was not ended so."""
    number = -status if status < 0 else status - 128
    if number == signal.SIGKILL:
        return KILLED
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT):
        return f"it crashed ({signal.Signals(number).name}), often because there was no more memory: {FEW}"
    return ""


def _limits() -> Iterator[tuple[int, int]]:
    """Of the machine, of each control group around this process, and of the process: bytes, and free ones."""
    yield _of_machine()
    for group in _groups():
        yield from _of_group(group)
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        # Stacks of threads and arenas of the allocator take more addresses than memory.
        yield soft, (soft - _address_space()) // 2


def _of_machine() -> tuple[int, int]:
    found = re.findall(r"^(\w+): +(\d+) kB", _text(PROC / "meminfo"), re.MULTILINE)
    known = {name: int(size) << 10 for name, size in found}
    most = known.get("MemTotal", sys.maxsize)
    return most, known.get("MemAvailable", most)


def _groups() -> Iterator[Path]:
    """Folders of the memory control groups of this process; in a container, its own is the topmost."""
    for line in _text(PROC / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):  # of version 2, and of version 1
            top = GROUPS / controllers
            inner = top / path.lstrip("/")
            yield from dict.fromkeys(
                (top, *(each for each in (inner, *inner.parents) if each.is_relative_to(top)))
            )


def _of_group(group: Path) -> Iterator[tuple[int, int]]:
    new = (group / "memory.max").is_file()
    limit = _text(group / ("memory.max" if new else "memory.limit_in_bytes")).strip()
    if not limit.isdecimal():  # "max", or no such group
        return
    used = _text(group / ("memory.current" if new else "memory.usage_in_bytes")).strip()
    cached = re.findall(rf"^{'' if new else 'total_'}(?:in)?active_file (\d+)", _text(group / STAT), re.M)
    yield int(limit), int(limit) - int(used or 0) + sum(map(int, cached))


def _address_space() -> int:
    pages = _text(PROC / "self" / "statm").split()
    return int(pages[0]) * resource.getpagesize() if pages else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def _shown(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
