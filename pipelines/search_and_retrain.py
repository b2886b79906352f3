"""Search interactions, retrain what was found, transfer it, and compare everything on the same rows.

Compile with `make compile`, or `python -m pipelines.search_and_retrain`.
"""

from pathlib import Path
from typing import List  # noqa: UP035  # KFP knows lists of artifacts by this name

from kfp import compiler, dsl
from kfp.dsl import Artifact, Dataset, Input

from components.aim_search_embeddings.component import aim_search_embeddings
from components.aim_search_interactions.component import aim_search_interactions
from components.baselines.component import baselines as train_baselines
from components.bundle.component import bundle
from components.evaluate.component import evaluate
from components.ingest.component import ingest
from components.retrain.component import retrain
from components.search_autofis.component import search_autofis
from components.search_autopi.component import search_autopi
from components.search_optinter.component import search_optinter
from components.select_interactions.component import select_interactions
from components.transfer.component import transfer as transfer_to
from components.vocabulary.component import vocabulary as fit_vocabulary
from pipelines.hardware import place
from pipelines.preflight import preflight

COMPILED = Path(__file__).parents[1] / "src" / "ctrloom" / "pipelines" / "search_and_retrain.yaml"


@dsl.pipeline(name="without-search")
def without_search(
    dataset: Input[Dataset],
    names: list,  # type: ignore[type-arg]
    models: dict,  # type: ignore[type-arg]
    seeds: list,  # type: ignore[type-arg]
) -> List[Artifact]:  # noqa: UP006
    """Train the models that a search has to beat, beside it."""
    with dsl.ParallelFor(seeds) as seed:
        done = place(train_baselines(dataset=dataset, names=names, models=models, seed=seed))
    return dsl.Collected(done.outputs["runs"])


@dsl.pipeline(name="after-search")
def after_search(
    dataset: Input[Dataset],
    search: Input[Artifact],
    baselines: Input[List[Artifact]],  # noqa: UP006
    name: str,
    models: dict,  # type: ignore[type-arg]
    transfer: list,  # type: ignore[type-arg]
    seeds: list,  # type: ignore[type-arg]
    evaluation: dict,  # type: ignore[type-arg]
    run: dict,  # type: ignore[type-arg]
) -> None:
    """Train what a search found and what it is transferred to, and compare them with the baselines."""
    given = {"dataset": dataset, "search": search, "models": models}
    with dsl.ParallelFor(seeds) as seed:
        again = place(retrain(**given, seeds=seeds, seed=seed))
        moved = place(transfer_to(**given, targets=transfer, seed=seed))

    def trained() -> dict[str, dsl.Collected]:  # KFP takes one only once
        return {
            "retrained": dsl.Collected(again.outputs["runs"]),
            "transferred": dsl.Collected(moved.outputs["runs"]),
        }

    place(bundle(dataset=dataset, **trained()))
    place(
        evaluate(
            dataset=dataset,
            search=search,
            **trained(),
            baselines=baselines,
            name=name,
            settings=evaluation,
            run=run,
        )
    )


@dsl.pipeline(name="search-and-retrain")
def search_and_retrain(
    name: str,
    data: dict,  # type: ignore[type-arg]
    store: str,
    method: str = "autofis",
    vocabulary: dict = {},  # type: ignore[type-arg]  # noqa: B006
    search: dict = {},  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
    baselines: list = ["lr", "fm", "fwfm", "fnn", "deepfm", "ipnn"],  # type: ignore[type-arg]  # noqa: B006
    transfer: list = ["ipnn", "deepfm"],  # type: ignore[type-arg]  # noqa: B006
    seeds: list = [0, 1, 2],  # type: ignore[type-arg]  # noqa: B006
    evaluation: dict = {},  # type: ignore[type-arg]  # noqa: B006
    run: dict = {},  # type: ignore[type-arg]  # noqa: B006
    revision: str = "",
    engine: str = "duckdb",
    spark: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Find the feature interactions that a CTR model needs, and prove that they help.

    Args:
        name: Name of the run.
        data: Files, columns, label rule and split.
        store: Directory in which data sets are kept, one folder per fingerprint.
        method: autofis, aim, optinter, autopi, random, statistics_auc or mutual_information.
        vocabulary: Minimum counts, bucketing and crosses.
        search: Settings of the search; they are those of its method.
        models: Hyper-parameters per model; `default` holds for all.
        baselines: Models without a search, such as lr, fm, deepfm.
        transfer: Models to transfer the found interactions to, such as ipnn, deepfm.
        seeds: Seeds that every model is trained with, each in steps of its own, side by side.
        evaluation: Base model, bins, resamples and confidence.
        run: The whole run configuration, for the report.
        revision: State of the raw files; with another one they are read again.
        engine: What counts and encodes: duckdb in a step itself, or spark.
        spark: Options of Spark, without `spark.`, such as {"master": "local[4]"}.
    """
    clean = place(ingest(data=data, store=store, revision=revision, engine=engine, spark=spark)).after(
        preflight(store)
    )
    encoded = place(
        fit_vocabulary(
            ingested=clean.outputs["ingested"], store=store, vocabulary=vocabulary, engine=engine, spark=spark
        )
    )
    dataset = encoded.outputs["dataset"]
    plain = without_search(dataset=dataset, names=baselines, models=models, seeds=seeds)

    def go_on(found: dsl.PipelineTask) -> None:
        after_search(
            dataset=dataset,
            search=found.outputs["search"],
            name=name,
            models=models,
            baselines=plain.output,
            transfer=transfer,
            seeds=seeds,
            evaluation=evaluation,
            run=run,
        )

    with dsl.If(method == "autofis"):
        go_on(place(search_autofis(dataset=dataset, config=search, models=models)))
    with dsl.Elif(method == "aim"):
        first = place(aim_search_interactions(dataset=dataset, config=search, models=models))
        second = aim_search_embeddings(
            dataset=dataset, interactions=first.outputs["search"], config=search, models=models
        )
        go_on(place(second))
    with dsl.Elif(method == "optinter"):
        go_on(place(search_optinter(dataset=dataset, config=search, models=models)))
    with dsl.Elif(method == "autopi"):
        go_on(place(search_autopi(dataset=dataset, config=search, models=models)))
    with dsl.Else():
        go_on(place(select_interactions(dataset=dataset, config=search, models=models)))


if __name__ == "__main__":
    compiler.Compiler().compile(search_and_retrain, str(COMPILED))
