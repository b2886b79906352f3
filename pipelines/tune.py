"""Tune every model of a run by random search, with one step per trial, and show the best settings."""

from typing import List  # noqa: UP035  # KFP needs this name for typed lists

from kfp import dsl

from components.collect_tuning.component import collect_tuning
from components.plan_trials.component import plan_trials
from components.search_plugin.component import search_plugin
from components.track.component import track
from components.tune_trial.component import tune_trial
from pipelines.encoding_steps import add_encoding


@dsl.pipeline(name="tune")
def tune(
    data: dict,  # type: ignore[type-arg]
    store: str,
    search: dict,  # type: ignore[type-arg]
    tunings: List[dict],  # type: ignore[type-arg]  # noqa: UP006
    vocabulary: dict = {},  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
    tuning: dict = {},  # type: ignore[type-arg]  # noqa: B006
    revision: str = "",
    engine: str = "duckdb",
    spark: dict = {},  # type: ignore[type-arg]  # noqa: B006
    name: str = "tuning",
    tracking: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Tune the baselines, the searched model and its transfers, each with the same number of trials.

    Args:
        data: Files, columns, label rule and split.
        store: Directory in which data sets are kept, one folder per fingerprint.
        search: Method and settings of the search.
        tunings: Models to tune, their configured settings, and the seed.
        vocabulary: Minimum counts, bucketing and crosses.
        models: Hyper-parameters per model; `default` applies to all.
        tuning: Budget and spaces of tuning; the sampler is random, as all trials run in parallel.
        revision: Hash of the state of the raw files; they are read again if it changes.
        engine: Engine that counts and encodes: duckdb (in the step's process) or spark.
        spark: Options of Spark, without `spark.`, such as {"master": "local[4]"}.
        name: Name of the run.
        tracking: MLflow and TensorBoard, to show the tuning there; without them, there is no such step.
    """
    dataset = add_encoding(data, store, vocabulary, revision, engine, spark)
    found = search_plugin(dataset=dataset, config=search, models=models).outputs["search"]
    planned = plan_trials(dataset=dataset, search=found, tunings=tunings, tuning=tuning)
    with dsl.ParallelFor(planned.output) as trial:
        done = tune_trial(dataset=dataset, search=found, trial=trial, models=models, tuning=tuning)
    collected = collect_tuning(parts=dsl.Collected(done.outputs["tuned"]))
    track(name=name, tracking=tracking, tuned=collected.outputs["tuned"], dataset=dataset)


PIPELINES = {"tune": tune}
