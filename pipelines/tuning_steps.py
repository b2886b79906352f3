"""Tuning before training; runs without tuning omit these steps (`ctrloom.runners.compiled.without`)."""

from typing import Any

from kfp import dsl

from components.collect_tuning.component import collect_tuning
from components.tune.component import tune


def add_tuning(dataset: Any, tunings: Any, tuning: Any, store: Any, **search: Any) -> Any:
    """Tune each job in a separate step; returns the artifact of all, which training takes as `tuned`."""
    with dsl.ParallelFor(tunings) as job:
        part = tune(dataset=dataset, job=job, store=store, tuning=tuning, **search)
    return collect_tuning(parts=dsl.Collected(part.outputs["tuned"])).outputs["tuned"]
