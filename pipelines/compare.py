"""Train many methods and models over seeds, each entry and seed as a step of its own, and write one table."""

from typing import List  # noqa: UP035  # KFP knows lists with a type by this name

from kfp import dsl

from pipelines.comparison import compared


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
) -> None:
    """Compare methods and models on one data set.

    Args:
        data: Files, columns, label rule and split.
        store: Directory in which data sets are kept, one folder per fingerprint.
        jobs: Pairs of an entry of the comparison and a seed.
        comparison: The whole configuration of the comparison.
        vocabulary: Minimum counts, bucketing and crosses.
        models: Hyper-parameters per model; `default` holds for all.
        revision: State of the raw files; with another one they are read again.
        engine: What counts and encodes: duckdb in a step itself, or spark.
        spark: Options of Spark, without `spark.`, such as {"master": "local[4]"}.
    """
    compared(data, store, jobs, comparison, vocabulary, models, revision, engine, spark)


PIPELINES = {"compare": compare}
