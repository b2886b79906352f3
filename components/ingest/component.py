"""Raw files to clean, typed, split Parquet."""

from kfp.dsl import Dataset, Output

from components.step import step


@step
def ingest(
    ingested: Output[Dataset],
    data: dict,  # type: ignore[type-arg]
    store: str,
    revision: str = "",
    engine: str = "duckdb",
    spark: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Read raw files, quarantine malformed rows, and write clean, typed, split Parquet.

    Args:
        ingested: Manifest of the clean rows; the rows themselves stay in the store.
        data: Files, their columns, the label rule and the split (section `data` of a run configuration).
        store: Directory in which data sets are kept, one folder per fingerprint.
        revision: Hash of the state of the raw files. Earlier results with another one are not reused.
        engine: Engine that counts and encodes: duckdb (in the step's process) or spark.
        spark: Options of Spark, without `spark.`, such as {"master": "local[4]"}.
    """
    from ctrloom import stages
    from ctrloom.config import DataConfig
    from ctrloom.config.engine import EngineConfig
    from ctrloom.runners import component

    config = DataConfig.parse(data, "data")
    chosen = EngineConfig.parse({"engine": engine, "spark": spark}, "parameters")
    component.publish(stages.ingest(config, component.folder(store), chosen), ingested)
