"""Thread pools. Arrow, NumPy and hashing release the GIL while they compute."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")

MOST = 8  # bounds the memory of items in progress


def count() -> int:
    """Number of threads: the CPUs available to this process, at most MOST."""
    return min(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, MOST
    )


def map_in_threads(
    work: Callable[[Item], Done], items: Iterable[Item], threads: int | None = None
) -> Iterator[Done]:
    """Results of `work` in the order of the items, computed ahead of the consumer.

    Items are taken one at a time, at most one per thread ahead. The first error is raised in the place of its
    item and ends the iteration.
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
    """Items of which the first is computed in the background.

    Can be iterated once; use as a context manager, which closes the generator.
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


class BackgroundThread:
    """A background thread for work without a result; use as a context manager, which waits for the work.

    One item is processed at a time. An error is raised with the next item or at the end.
    """

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1, "ctrloom-background")
        self.under_way: Future[object] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        self.pool.shutdown()
        if failure is None:
            self.wait()

    def do(self, work: Callable[[Item], object], item: Item) -> None:
        """Start the next item when the previous one is done."""
        self.wait()
        self.under_way = self.pool.submit(work, item)

    def wait(self) -> None:
        """Wait for the item in progress."""
        if self.under_way is not None:
            self.under_way.result()
            self.under_way = None
