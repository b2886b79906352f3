"""Work shared by threads. Arrow, NumPy and hashing let go of the interpreter while they compute."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")

MOST = 8  # what is under way at a time bounds memory


def count() -> int:
    """Threads for the processors that this process may use."""
    return min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MOST
    )


def in_order(work: Callable[[Item], Done], items: Iterable[Item]) -> Iterator[Done]:
    """What `work` gives for each item, in their order, worked out ahead of who asks for it.

    Items are drawn one at a time, a few ahead. The first error ends it, at the place of its item.
    """
    threads = count()
    with ThreadPoolExecutor(threads, "ctrloom-data") as pool:
        ahead: deque[Future[Done]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for each in ahead:
                each.cancel()
