"""The order of the steps of a local run."""

import random

import pytest
from kfp.components import load_component_from_text
from kfp.local import graph_utils

from ctrloom.runners import compiled
from ctrloom.runners.step_order import fixed_order


@pytest.mark.parametrize("name", ["search_and_retrain_autofis", "compare", "tune"])
def test_order_of_steps_does_not_depend_on_the_order_of_the_map(name):
    loaded = load_component_from_text(compiled.for_one_machine(name))
    tasks = dict(loaded.pipeline_spec.root.dag.tasks)
    shuffled = (dict(random.sample(list(tasks.items()), len(tasks))) for _ in range(20))
    stock = graph_utils.topological_sort_tasks
    with fixed_order():
        orders = {tuple(reversed(graph_utils.topological_sort_tasks(each))) for each in shuffled}
    assert graph_utils.topological_sort_tasks is stock
    (order,) = orders
    assert sorted(order) == sorted(tasks)
    for step, task in tasks.items():
        assert all(order.index(before) < order.index(step) for before in task.dependent_tasks)
