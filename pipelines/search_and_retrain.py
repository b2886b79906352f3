"""Search interactions, retrain what was found, transfer it, and compare everything on the same rows.

One flat pipeline per search method: all loops are in the root DAG, next to the steps that use their outputs,
because KFP's driver passes only one artifact of a list into another DAG.
"""

import inspect
from collections.abc import Callable
from typing import Any, List  # noqa: UP035  # KFP needs this name for typed lists

from kfp import dsl

from components.aim_search_embeddings.component import aim_search_embeddings
from components.aim_search_interactions.component import aim_search_interactions
from components.baselines.component import baselines as train_baselines
from components.bundle.component import bundle
from components.deterministic_baselines.component import deterministic_baselines
from components.evaluate.component import evaluate
from components.retrain.component import retrain
from components.search_autofis.component import search_autofis
from components.search_autopi.component import search_autopi
from components.search_optinter.component import search_optinter
from components.search_plugin.component import search_plugin
from components.select_interactions.component import select_interactions
from components.track.component import track
from components.transfer.component import transfer as transfer_to
from pipelines.encoding_steps import add_encoding
from pipelines.tuning_steps import add_tuning


def search_and_retrain(
    title: str, find: Callable[..., dsl.PipelineTask], settings: dict[str, Any], transfers: bool = True
) -> dsl.base_component.BaseComponent:
    """The pipeline `search-and-retrain-<title>`.

    `find` adds the steps of the search and returns the last of them, `settings` are the default settings of
    the search, and `transfers` is True if its result can be transferred to other models.
    """

    def pipeline(
        name: str,
        data: dict,  # type: ignore[type-arg]
        store: str,
        vocabulary: dict = {},  # type: ignore[type-arg]  # noqa: B006
        search: dict = settings,  # type: ignore[type-arg]
        models: dict = {},  # type: ignore[type-arg]  # noqa: B006
        baselines: list = ["lr", "fm", "fwfm", "fnn", "deepfm", "ipnn"],  # type: ignore[type-arg]  # noqa: B006
        seeds: List[int] = [0, 1, 2],  # noqa: B006, UP006
        bundles: list = [],  # type: ignore[type-arg]  # noqa: B006
        evaluation: dict = {},  # type: ignore[type-arg]  # noqa: B006
        run: dict = {},  # type: ignore[type-arg]  # noqa: B006
        revision: str = "",
        engine: str = "duckdb",
        spark: dict = {},  # type: ignore[type-arg]  # noqa: B006
        tunings: List[dict] = [{}],  # type: ignore[type-arg]  # noqa: B006, UP006
        tuning: dict = {},  # type: ignore[type-arg]  # noqa: B006
        tracking: dict = {},  # type: ignore[type-arg]  # noqa: B006
        draw_seeds: list = [],  # type: ignore[type-arg]  # noqa: B006
        transfer: list = ["ipnn", "deepfm"],  # type: ignore[type-arg]  # noqa: B006
    ) -> None:
        """Find the feature interactions that a CTR model needs, and prove that they help.

        Args:
            name: Name of the run.
            data: Files, columns, label rule and split.
            store: Directory in which data sets are kept, one folder per fingerprint.
            vocabulary: Minimum counts, bucketing and crosses.
            search: Settings of the search method.
            models: Hyper-parameters per model; `default` applies to all.
            baselines: Models without a search, such as lr, fm, deepfm.
            seeds: Seeds to train every model with, in one step per model group and seed.
            bundles: Models to bundle, such as deepfm, gbdt, in addition to the best one.
            evaluation: Base model, bins, resamples, confidence, groups, segments and columns.
            run: The whole run configuration, for the report.
            revision: Hash of the state of the raw files; they are read again if it changes.
            engine: Engine that counts and encodes: duckdb (in the step's process) or spark.
            spark: Options of Spark, without `spark.`, such as {"master": "local[4]"}.
            tunings: Models to tune before all are trained, in one step per job.
            tuning: Budget, sampler, pruner and spaces; without them, runs have no tuning steps.
            tracking: MLflow and TensorBoard, to show the run there; without them, there is no such step.
            draw_seeds: The same as `seeds`, which then share random selections; else each seed trains all.
            transfer: Models to transfer the found interactions to, such as ipnn, {model: fm, of: random}.
        """
        dataset = add_encoding(data, store, vocabulary, revision, engine, spark)
        found = find(dataset=dataset, config=search, models=models).outputs["search"]
        tuned = add_tuning(dataset, tunings, tuning, store, search=found)
        fixed = deterministic_baselines(dataset=dataset, names=baselines, models=models, tuned=tuned)
        with dsl.ParallelFor(seeds) as seed:
            given = {"dataset": dataset, "models": models, "seed": seed, "tuned": tuned}
            plain = train_baselines(names=baselines, **given)
        with dsl.ParallelFor(seeds) as seed:
            given = {"dataset": dataset, "models": models, "seed": seed, "tuned": tuned}
            steps = {"retrained": retrain(search=found, seeds=draw_seeds, **given)}
            if transfers:
                steps["transferred"] = transfer_to(search=found, targets=transfer, seeds=draw_seeds, **given)

        steps["baselines"] = plain

        def trained() -> dict[str, Any]:  # KFP accepts each object only once
            lists = {name: dsl.Collected(step.outputs["runs"]) for name, step in steps.items()}
            return {**lists, "deterministic": fixed.outputs["runs"]}

        bundled = bundle(dataset=dataset, **trained(), names=bundles)
        evaluated = evaluate(
            dataset=dataset,
            search=found,
            **trained(),
            name=name,
            seeds=seeds,
            settings=evaluation,
            run=run,
            tuned=tuned,
        )
        track(
            name=name,
            tracking=tracking,
            evaluation=evaluated.outputs["evaluation"],
            search=found,
            best=bundled.outputs["best"],
            tuned=tuned,
        )

    if not transfers:
        *others, _ = inspect.signature(pipeline).parameters.values()
        pipeline.__signature__ = inspect.Signature(others)  # type: ignore[attr-defined]
    return dsl.pipeline(pipeline, name=f"search-and-retrain-{title}")


def aim(**given: Any) -> dsl.PipelineTask:
    """AIM's two stages."""
    first = aim_search_interactions(**given)
    return aim_search_embeddings(interactions=first.outputs["search"], **given)


SELECTION = {"method": "statistics_auc", "keep": {"2": 10}}
PIPELINES = {
    f"search_and_retrain_{title}": search_and_retrain(title, find, settings, title != "autopi")
    for title, find, settings in (
        ("autofis", search_autofis, {"method": "autofis"}),
        ("aim", aim, {"method": "aim"}),
        ("optinter", search_optinter, {"method": "optinter"}),
        ("autopi", search_autopi, {"method": "autopi"}),
        ("selection", select_interactions, SELECTION),
        ("plugin", search_plugin, {}),
    )
}
