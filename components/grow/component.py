"""Clean rows to ids that never move."""

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
    """Encode clean rows with the champion's vocabularies; new values get ids at their end.

    Args:
        ingested: Manifest of clean rows.
        champion: The champion, whose boundaries and ids are kept.
        dataset: Manifest of the encoded data set; the rows themselves stay in the store.
        store: Directory in which data sets are kept, one folder per fingerprint.
        growth: Rows that a new value must be in (section `growth`).
        engine: What counts and encodes: duckdb in the step itself, or spark.
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
