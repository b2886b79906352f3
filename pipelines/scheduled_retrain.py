"""Train the champion's architecture on a new window of days, and replace the champion if the gate passes."""

from kfp import dsl

from components.champion.component import champion as fetch_champion
from components.drift.component import drift as compare_rows
from components.gate.component import gate as decide
from components.grow.component import grow
from components.ingest_window.component import ingest_window
from components.promote.component import promote
from components.refresh.component import refresh
from components.report.component import report
from components.track.component import track
from pipelines.preflight import preflight


@dsl.pipeline(name="scheduled-retrain")
def scheduled_retrain(
    name: str,
    registry: str,
    data: dict,  # type: ignore[type-arg]
    store: str,
    until: str = "yesterday",
    days: int = 1,
    growth: dict = {},  # type: ignore[type-arg]  # noqa: B006
    training: dict = {},  # type: ignore[type-arg]  # noqa: B006
    drift: dict = {},  # type: ignore[type-arg]  # noqa: B006
    gate: dict = {},  # type: ignore[type-arg]  # noqa: B006
    engine: str = "duckdb",
    spark: dict = {},  # type: ignore[type-arg]  # noqa: B006
    tracking: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Retrain the champion's architecture on later rows.

    Args:
        name: Name of the retraining.
        registry: Where versions and champion are kept: a path, gs:// or s3://.
        data: Files with a date in their names, columns, label rule and split by time.
        store: Directory in which data sets are kept, one folder per fingerprint.
        until: Last day of the window (2026-11-30, today or yesterday, in UTC).
        days: Days in the window.
        growth: Minimum number of rows with a new value to give it an id.
        training: Warm or cold start, seeds, and hyper-parameters that differ from the champion's.
        drift: Groups and thresholds of the drift report.
        gate: Thresholds of the gate.
        engine: Engine that counts and encodes: duckdb (in the step's process) or spark.
        spark: Options of Spark, without `spark.`, such as {"master": "local[4]"}.
        tracking: MLflow and TensorBoard, to show the run there; without them, there is no such step.
    """
    counting = {"engine": engine, "spark": spark}
    checked = preflight(store)
    window = ingest_window(data=data, store=store, until=until, days=days, **counting).after(checked)
    fetched = fetch_champion(registry=registry, training=training).after(checked)
    clean, champion = window.outputs["ingested"], fetched.outputs["champion"]
    grown = grow(ingested=clean, champion=champion, store=store, growth=growth, **counting)
    dataset = grown.outputs["dataset"]
    changed = compare_rows(dataset=dataset, champion=champion, settings=drift).outputs["drift"]
    trained = refresh(dataset=dataset, champion=champion, training=training).outputs
    challenger = trained["bundle"]
    decided = decide(ingested=clean, challenger=challenger, champion=champion, gate=gate)
    verdict = decided.outputs["verdict"]
    page = report(drift=changed, verdict=verdict, name=name).outputs["report"]
    with dsl.If(decided.outputs["Output"] == True):  # noqa: E712
        promote(bundle=challenger, verdict=verdict, registry=registry)
    shown = {
        "verdict": verdict,
        "drift": changed,
        "report": page,
        "best": challenger,
        "runs": trained["runs"],
    }
    track(name=name, tracking=tracking, **shown)


PIPELINES = {"scheduled_retrain": scheduled_retrain}
