"""Background work: order, errors, and limits."""

import threading
import time
from collections.abc import Generator
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrloom.data import threads
from ctrloom.data.threads import Ahead, BackgroundThread, map_in_threads


@given(st.lists(st.integers(0, 3), max_size=30))
def test_results_come_in_the_order_of_items(delays: list[int]) -> None:
    def slow(item: tuple[int, int]) -> int:
        time.sleep(item[1] / 2000)
        return item[0]

    assert list(map_in_threads(slow, enumerate(delays))) == list(range(len(delays)))


@pytest.mark.parametrize("given", [None, 1, 5])
def test_no_more_than_a_few_items_are_drawn_ahead(monkeypatch: pytest.MonkeyPatch, given: int | None) -> None:
    monkeypatch.setattr(threads, "count", lambda: 3)
    drawn: list[int] = []
    items = (drawn.append(i) or i for i in range(100))
    results = map_in_threads(lambda item: item, items, given)
    for taken in range(50):
        assert next(results) == taken
        assert len(drawn) == taken + 1 + (given or 3)


def test_an_error_is_raised_in_order_and_ends_the_work() -> None:
    def work(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        return item

    before, results = threading.active_count(), map_in_threads(work, range(100))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
    assert threading.active_count() == before


def test_closing_early_leaves_no_thread() -> None:
    before, results = threading.active_count(), map_in_threads(lambda item: item, range(100))
    next(results)
    results.close()
    assert threading.active_count() == before


def test_several_threads_work_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "count", lambda: 2)
    together = threading.Barrier(2, timeout=30)  # both threads must reach it
    assert sorted(map_in_threads(lambda _: together.wait(), range(4))) == [0, 0, 1, 1]


def test_the_first_item_is_computed_in_the_background() -> None:
    began, ended = threading.Event(), threading.Event()

    def items() -> Generator[int]:
        try:
            began.set()
            yield 0
            yield from range(1, 5)
        finally:
            ended.set()

    before = threading.active_count()
    with Ahead(items()) as ahead:
        assert began.wait(30)
        assert list(islice(ahead, 3)) == [0, 1, 2]
        assert not ended.is_set()
    assert ended.is_set()
    assert threading.active_count() == before


def test_a_background_error_is_raised_on_iteration() -> None:
    def items() -> Generator[int]:
        raise ValueError("first")
        yield 0

    with Ahead(items()) as ahead, pytest.raises(ValueError, match="first"):
        next(iter(ahead))
    with Ahead(items()):
        pass
    with Ahead(item for item in range(0)) as ahead:
        assert list(ahead) == []


def test_background_work_is_in_order_one_item_at_a_time():
    done: list[int] = []
    with BackgroundThread() as background:
        for item in range(20):
            background.do(done.append, item)
            assert len(done) >= item  # all before it are done
    assert done == list(range(20))


@pytest.mark.parametrize(("items", "taken"), [((0, 1), [0, 1]), ((1, 0, 0), [1])])
def test_a_background_error_is_raised_with_the_next_item_or_at_the_end(
    items: tuple[int, ...], taken: list[int]
) -> None:
    def work(item: int) -> None:
        if item:
            raise ValueError(item)

    given_out: list[int] = []

    def give_all_out() -> None:
        with BackgroundThread() as background:
            for item in items:
                background.do(work, item)
                given_out.append(item)

    with pytest.raises(ValueError, match="1"):
        give_all_out()
    assert given_out == taken
