"""Work shared by threads. Arrow, NumPy and hashing let go of the interpreter while they compute."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")

MOST = 8  # what is under way at a time bounds memory


def count() -> int:
    """Threads for the processors that this process may use."""
    return min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MOST
    )


def in_order(
    work: Callable[[Item], Done], items: Iterable[Item], threads: int | None = None
) -> Iterator[Done]:
    """What `work` gives for each item, in their order, worked out ahead of who asks for it.

    Items are drawn one at a time, at most one for each thread ahead. The first error ends it, at the place of
    its item.
    """
    threads = threads or count()
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


class Ahead(Generic[Item]):
    """Items of which the first is worked out from now on, while something else goes on.

    To be gone through once; use as a context manager, which ends them.
    """

    def __init__(self, items: Generator[Item]) -> None:
        self.items, self.pool = items, ThreadPoolExecutor(1, "ctrloom-ahead")
        self.first = self.pool.submit(lambda: list(islice(items, 1)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)
        self.items.close()

    def __iter__(self) -> Iterator[Item]:
        return chain(self.first.result(), self.items)


class Beside:
    """One thread for work whose result nobody waits for; use as a context manager, which ends with the work.

    One item is under way at a time. The first error comes with the item after it, or at the end.
    """

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1, "ctrloom-beside")
        self.under_way: Future[object] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        self.pool.shutdown()
        if failure is None:
            self.wait()

    def do(self, work: Callable[[Item], object], item: Item) -> None:
        """Begin the next item when the one before is done."""
        self.wait()
        self.under_way = self.pool.submit(work, item)

    def wait(self) -> None:
        """Return when nothing is under way."""
        if self.under_way is not None:
            self.under_way.result()
            self.under_way = None
