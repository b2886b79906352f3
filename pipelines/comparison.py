"""What a comparison and a regression test have in common."""

from kfp import dsl

from components.compare_job.component import compare_job
from components.compare_table.component import compare_table
from components.ingest.component import ingest
from components.vocabulary.component import vocabulary as fit_vocabulary
from pipelines.hardware import place
from pipelines.preflight import preflight


def compared(
    data: dict,  # type: ignore[type-arg]
    store: str,
    jobs: list,  # type: ignore[type-arg]
    comparison: dict,  # type: ignore[type-arg]
    vocabulary: dict,  # type: ignore[type-arg]
    models: dict,  # type: ignore[type-arg]
    revision: str,
    engine: str,
    spark: dict,  # type: ignore[type-arg]
) -> dsl.PipelineTask:
    """Train every entry with every seed in a step of its own; the step that writes the table."""
    counting = {"engine": engine, "spark": spark}
    clean = place(ingest(data=data, store=store, revision=revision, **counting)).after(preflight(store))
    ingested = clean.outputs["ingested"]
    encoded = place(fit_vocabulary(ingested=ingested, store=store, vocabulary=vocabulary, **counting))
    dataset = encoded.outputs["dataset"]
    with dsl.ParallelFor(jobs) as job:
        done = place(compare_job(dataset=dataset, job=job, models=models))
    return place(
        compare_table(dataset=dataset, jobs=dsl.Collected(done.outputs["done"]), comparison=comparison)
    )
