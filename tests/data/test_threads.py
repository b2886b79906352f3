"""Work ahead of who asks for it: order, errors, and how far ahead."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctrloom.data import threads
from ctrloom.data.threads import in_order


@given(st.lists(st.integers(0, 3), max_size=30))
def test_results_come_in_the_order_of_items(delays: list[int]) -> None:
    def slow(item: tuple[int, int]) -> int:
        time.sleep(item[1] / 2000)
        return item[0]

    assert list(in_order(slow, enumerate(delays))) == list(range(len(delays)))


def test_no_more_than_a_few_items_are_drawn_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "count", lambda: 3)
    drawn: list[int] = []
    items = (drawn.append(i) or i for i in range(100))
    results = in_order(lambda item: item, items)
    for taken in range(50):
        assert next(results) == taken
        assert len(drawn) <= taken + 1 + 3


def test_an_error_comes_at_its_place_and_ends_the_work() -> None:
    def work(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        return item

    before, results = threading.active_count(), in_order(work, range(100))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
    assert threading.active_count() == before


def test_who_stops_asking_leaves_no_thread_behind() -> None:
    before, results = threading.active_count(), in_order(lambda item: item, range(100))
    next(results)
    results.close()
    assert threading.active_count() == before


def test_several_threads_work_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "count", lambda: 2)
    together = threading.Barrier(2, timeout=30)  # neither gets past it alone
    assert sorted(in_order(lambda _: together.wait(), range(4))) == [0, 0, 1, 1]
