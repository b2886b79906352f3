"""Train many methods and models over seeds, with one step per entry and seed, and write one table."""

from typing import List  # noqa: UP035  # KFP needs this name for typed lists

from kfp import dsl

from components.require_complete.component import require_complete
from components.track.component import track
from pipelines.comparison_steps import add_comparison


@dsl.pipeline(name="compare")
def compare(
    data: dict,  # type: ignore[type-arg]
    store: str,
    jobs: List[dict],  # type: ignore[type-arg]  # noqa: UP006
    comparison: dict,  # type: ignore[type-arg]
    vocabulary: dict = {},  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
    revision: str = "",
    engine: str = "duckdb",
    spark: dict = {},  # type: ignore[type-arg]  # noqa: B006
    tunings: List[dict] = [{}],  # type: ignore[type-arg]  # noqa: B006, UP006
    tuning: dict = {},  # type: ignore[type-arg]  # noqa: B006
    strict: bool = True,
    tracking: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Compare methods and models on one data set.

    Args:
        data: Files, columns, label rule and split.
        store: Directory in which data sets are kept, one folder per fingerprint.
        jobs: Pairs of an entry of the comparison and a seed.
        comparison: The whole configuration of the comparison.
        vocabulary: Minimum counts, bucketing and crosses.
        models: Hyper-parameters per model; `default` applies to all.
        revision: Hash of the state of the raw files; they are read again if it changes.
        engine: Engine that counts and encodes: duckdb (in the step's process) or spark.
        spark: Options of Spark, without `spark.`, such as {"master": "local[4]"}.
        tunings: Models to tune before all are trained, in one step per job.
        tuning: Budget, sampler, pruner and spaces; without them, runs have no tuning steps.
        strict: Fail the run if an entry failed; otherwise only the table names it.
        tracking: MLflow and TensorBoard, to show the run there; without them, there is no such step.
    """
    table = add_comparison(
        data, store, jobs, comparison, vocabulary, models, revision, engine, spark, tunings, tuning
    )
    made = table.outputs
    track(name="comparison", tracking=tracking, table=made["table"], bundles=made["bundles"])
    require_complete(table=made["table"], strict=strict)


PIPELINES = {"compare": compare}
