"""Clean rows to ids."""

from kfp.dsl import Dataset, Input, Output

from components.step import step


@step
def vocabulary(
    ingested: Input[Dataset],
    dataset: Output[Dataset],
    store: str,
    vocabulary: dict = {},  # type: ignore[type-arg]  # noqa: B006
    engine: str = "duckdb",
    spark: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Fit bucket boundaries and vocabularies on the training split, and encode all splits as ids.

    Args:
        ingested: Manifest of clean rows.
        dataset: Manifest of the encoded data set; the rows themselves stay in the store.
        store: Directory in which data sets are kept, one folder per fingerprint.
        vocabulary: Minimum counts and bucketing (section `vocabulary` of a run configuration).
        engine: Engine that counts and encodes: duckdb (in the step's process) or spark.
        spark: Options of Spark, without `spark.`, such as {"master": "local[4]"}.
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import VocabularyConfig
    from ctrloom.config.engine import EngineConfig
    from ctrloom.runners import component

    config = VocabularyConfig.parse(vocabulary, "vocabulary")
    chosen = EngineConfig.parse({"engine": engine, "spark": spark}, "parameters")
    made = stages.vocabulary(Path(ingested.path), config, component.folder(store), chosen)
    component.publish(made, dataset)
