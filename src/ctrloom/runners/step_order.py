"""The order of the steps of a run on this machine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def fixed_order() -> Iterator[None]:
    """Make KFP run independent steps in the order of their names.

    It takes them from a map of protobuf, whose order differs between processes: a run that is started again
    would begin with another step than the one that was stopped.
    """
    from kfp.local import graph_utils

    stock = graph_utils.topological_sort_tasks

    def sort_tasks(tasks: Mapping[str, Any]) -> list[str]:
        return stock({name: tasks[name] for name in sorted(tasks)})

    graph_utils.topological_sort_tasks = sort_tasks
    try:
        yield
    finally:
        graph_utils.topological_sort_tasks = stock
