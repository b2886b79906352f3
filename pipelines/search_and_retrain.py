"""Search interactions, retrain what was found, transfer it, and compare everything on the same rows.

Compile with `make compile`, or `python -m pipelines.search_and_retrain`.
"""

from pathlib import Path

from kfp import compiler, dsl

from components.baselines.component import baselines as train_baselines
from components.evaluate.component import evaluate
from components.ingest.component import ingest
from components.retrain.component import retrain
from components.search_autofis.component import search_autofis
from components.transfer.component import transfer as transfer_to
from components.vocabulary.component import vocabulary as fit_vocabulary

COMPILED = Path(__file__).parents[1] / "src" / "ctrloom" / "pipelines" / "search_and_retrain.yaml"


@dsl.pipeline(name="search-and-retrain")
def search_and_retrain(
    name: str,
    data: dict,  # type: ignore[type-arg]
    store: str,
    vocabulary: dict = {},  # type: ignore[type-arg]  # noqa: B006
    search: dict = {},  # type: ignore[type-arg]  # noqa: B006
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
    baselines: list = ["lr", "fm", "fwfm", "fnn", "deepfm", "ipnn"],  # type: ignore[type-arg]  # noqa: B006
    transfer: list = ["ipnn", "deepfm"],  # type: ignore[type-arg]  # noqa: B006
    seeds: list = [0, 1, 2],  # type: ignore[type-arg]  # noqa: B006
    evaluation: dict = {},  # type: ignore[type-arg]  # noqa: B006
    run: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Find the feature interactions that a CTR model needs, and prove that they help.

    Args:
        name: Name of the run.
        data: Files, columns, label rule and split.
        store: Directory in which data sets are kept, one folder per fingerprint.
        vocabulary: Minimum counts and bucketing.
        search: Settings of the AutoFIS search.
        models: Hyper-parameters per model; `default` holds for all.
        baselines: Models without a search: lr, fm, fwfm, fnn, deepfm, ipnn.
        transfer: Models to transfer the found interactions to: ipnn, deepfm.
        seeds: Seeds that every model is trained with.
        evaluation: Base model, bins, resamples and confidence.
        run: The whole run configuration, for the report.
    """
    clean = ingest(data=data, store=store)
    encoded = fit_vocabulary(ingested=clean.outputs["ingested"], store=store, vocabulary=vocabulary)
    dataset = encoded.outputs["dataset"]
    found = search_autofis(dataset=dataset, config=search, models=models)
    again = retrain(dataset=dataset, search=found.outputs["search"], models=models, seeds=seeds)
    moved = transfer_to(
        dataset=dataset, search=found.outputs["search"], targets=transfer, models=models, seeds=seeds
    )
    plain = train_baselines(dataset=dataset, names=baselines, models=models, seeds=seeds)
    evaluate(
        dataset=dataset,
        search=found.outputs["search"],
        retrained=again.outputs["runs"],
        transferred=moved.outputs["runs"],
        baselines=plain.outputs["runs"],
        name=name,
        settings=evaluation,
        run=run,
    )


if __name__ == "__main__":
    compiler.Compiler().compile(search_and_retrain, str(COMPILED))
