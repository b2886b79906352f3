"""Bundle the best seed of each model."""

from typing import List  # noqa: UP035  # KFP needs this name for lists of artifacts

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.step import step


@step
def bundle(
    dataset: Input[Dataset],
    retrained: Input[List[Artifact]],  # noqa: UP006
    baselines: Input[List[Artifact]],  # noqa: UP006
    deterministic: Input[Artifact],
    best: Output[Model],
    others: Output[Artifact],
    bundles: Output[Artifact],
    transferred: Input[List[Artifact]] = None,  # type: ignore[assignment]  # noqa: UP006
    names: list = [],  # type: ignore[type-arg]  # noqa: B006
) -> None:
    """Bundle each model's best seed on the validation split, ready to score raw rows.

    Args:
        dataset: Manifest of an encoded data set.
        retrained: Models that retrain wrote, one folder per seed.
        baselines: Models that baselines wrote, likewise.
        deterministic: Models that deterministic_baselines wrote.
        best: The model that the search found.
        others: The transfer models, one folder each.
        bundles: The best of all models on the validation split, and those in `names`, one folder each.
        transferred: Models that transfer wrote, likewise; none if the search does not support transfer.
        names: Further models to bundle, such as deepfm, gbdt.
    """
    from pathlib import Path

    from ctrloom import stages

    found = (retrained, transferred or [], [*baselines, deterministic])
    folders = [[Path(artifact.path) for artifact in artifacts] for artifacts in found]
    outputs = Path(best.path), Path(others.path), Path(bundles.path)
    stages.bundle(Path(dataset.path), *folders, names, *outputs)
