"""Raw files of some days to typed, clean, split Parquet."""

from kfp.dsl import Dataset, Output

from components.step import step


@step
def ingest_window(
    ingested: Output[Dataset],
    data: dict,  # type: ignore[type-arg]
    store: str,
    until: str = "yesterday",
    days: int = 1,
    engine: str = "duckdb",
    spark: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Read the files of a window of days, quarantine malformed rows, and write clean, typed, split Parquet.

    Args:
        ingested: Manifest of the clean rows; the rows themselves stay in the store.
        data: Files with a date in their names, columns, label rule and split (section `data`).
        store: Directory in which data sets are kept, one folder per fingerprint.
        until: Last day of the window (2026-11-30, today or yesterday, in the time zone of `data`).
        days: Days in the window.
        engine: Engine that counts and encodes: duckdb (in the step's process) or spark.
        spark: Options of Spark, without `spark.`, such as {"master": "local[4]"}.
    """
    from ctrloom import stages
    from ctrloom.config import DataConfig
    from ctrloom.config.engine import EngineConfig
    from ctrloom.data.ingest.date_window import last_day, windowed
    from ctrloom.runners import component

    config = DataConfig.parse(data, "data")
    config = windowed(config, last_day(until, config.timezone), days)
    chosen = EngineConfig.parse({"engine": engine, "spark": spark}, "parameters")
    component.publish(stages.ingest(config, component.folder(store), chosen), ingested)
