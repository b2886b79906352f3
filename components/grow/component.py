"""Clean rows to ids, with the champion's ids unchanged."""

from kfp.dsl import Artifact, Dataset, Input, Output

from components.step import step


@step
def grow(
    ingested: Input[Dataset],
    champion: Input[Artifact],
    dataset: Output[Dataset],
    store: str,
    growth: dict = {},  # type: ignore[type-arg]  # noqa: B006
    engine: str = "duckdb",
    spark: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Encode clean rows with the champion's vocabularies; new values are appended.

    Args:
        ingested: Manifest of clean rows.
        champion: The champion, whose boundaries and ids are kept.
        dataset: Manifest of the encoded data set; the rows themselves stay in the store.
        store: Directory in which data sets are kept, one folder per fingerprint.
        growth: Minimum number of rows with a new value (section `growth`).
        engine: Engine that counts and encodes: duckdb (in the step's process) or spark.
        spark: Options of Spark, without `spark.`, such as {"master": "local[4]"}.
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config.engine import EngineConfig
    from ctrloom.config.growth import GrowthConfig
    from ctrloom.runners import component

    config = GrowthConfig.parse(growth, "growth")
    bundle = Path(champion.path) / "bundle"
    chosen = EngineConfig.parse({"engine": engine, "spark": spark}, "parameters")
    made = stages.grow(Path(ingested.path), bundle, config, component.folder(store), chosen)
    component.publish(made, dataset)
