"""Run a comparison of fixed data, seeds and configuration, and fail when its figures got worse."""

from typing import List  # noqa: UP035  # KFP knows lists with a type by this name

from kfp import dsl

from components.regression.component import regression
from components.require.component import require
from pipelines.comparison import compared


@dsl.pipeline(name="regression-eval")
def regression_eval(
    data: dict,  # type: ignore[type-arg]
    store: str,
    jobs: List[dict],  # type: ignore[type-arg]  # noqa: UP006
    comparison: dict,  # type: ignore[type-arg]
    baseline: dict,  # type: ignore[type-arg]
    vocabulary: dict = {},  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
    revision: str = "",
    engine: str = "duckdb",
    spark: dict = {},  # type: ignore[type-arg]  # noqa: B006
    strict: bool = True,
) -> None:
    """Hold the figures of a comparison against those that were stored when it was accepted.

    Args:
        data: Files, columns, label rule and split.
        store: Directory in which data sets are kept, one folder per fingerprint.
        jobs: Pairs of an entry of the comparison and a seed.
        comparison: The whole configuration of the comparison.
        baseline: The stored figures with their tolerances.
        vocabulary: Minimum counts, bucketing and crosses.
        models: Hyper-parameters per model; `default` holds for all.
        revision: State of the raw files; with another one they are read again.
        engine: What counts and encodes: duckdb in a step itself, or spark.
        spark: Options of Spark, without `spark.`, such as {"master": "local[4]"}.
        strict: Whether the run fails when figures got worse; otherwise the verdict alone says it.
    """
    table = compared(data, store, jobs, comparison, vocabulary, models, revision, engine, spark)
    verdict = regression(table=table.outputs["table"], baseline=baseline).outputs["verdict"]
    require(verdict=verdict, strict=strict)


PIPELINES = {"regression_eval": regression_eval}
