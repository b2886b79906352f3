"""Bundle the best seed of each model."""

from typing import List  # noqa: UP035  # KFP needs this name for lists of artifacts

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.step import step


@step
def bundle(
    dataset: Input[Dataset],
    retrained: Input[List[Artifact]],  # noqa: UP006
    best: Output[Model],
    others: Output[Artifact],
    transferred: Input[List[Artifact]] = None,  # type: ignore[assignment]  # noqa: UP006
) -> None:
    """Bundle each model's best seed on the validation split, ready to score raw rows.

    Args:
        dataset: Manifest of an encoded data set.
        retrained: Models that retrain wrote, one folder per seed.
        best: The model that the search found.
        others: The transfer models, one folder each.
        transferred: Models that transfer wrote, likewise; none if the search does not support transfer.
    """
    from pathlib import Path

    from ctrloom import stages

    found = (retrained, transferred or [])
    folders = [[Path(artifact.path) for artifact in artifacts] for artifacts in found]
    stages.bundle(Path(dataset.path), *folders, Path(best.path), Path(others.path))
