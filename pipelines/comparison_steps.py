"""Shared by the comparison and the regression evaluation."""

from typing import List  # noqa: UP035  # KFP needs this name for typed lists

from kfp import dsl

from components.compare_job.component import compare_job
from components.compare_table.component import compare_table
from pipelines.encoding_steps import add_encoding
from pipelines.tuning_steps import add_tuning


def add_comparison(
    data: dict,  # type: ignore[type-arg]
    store: str,
    jobs: List[dict],  # type: ignore[type-arg]  # noqa: UP006
    comparison: dict,  # type: ignore[type-arg]
    vocabulary: dict,  # type: ignore[type-arg]
    models: dict,  # type: ignore[type-arg]
    revision: str,
    engine: str,
    spark: dict,  # type: ignore[type-arg]
    tunings: List[dict],  # type: ignore[type-arg]  # noqa: UP006
    tuning: dict,  # type: ignore[type-arg]
) -> dsl.PipelineTask:
    """Train every entry and seed in a separate step; returns the step that writes the table.

    The table is written without the entries that failed: the caller adds a step that then fails the run.
    """
    dataset = add_encoding(data, store, vocabulary, revision, engine, spark)
    tuned = add_tuning(dataset, tunings, tuning, store)
    with dsl.ParallelFor(jobs) as job:
        done = compare_job(dataset=dataset, job=job, models=models, tuned=tuned)
    trained = dsl.Collected(done.outputs["done"])
    return compare_table(dataset=dataset, jobs=trained, comparison=comparison, tuned=tuned)
