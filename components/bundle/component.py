"""Bundle the best seed of each model."""

from typing import List  # noqa: UP035  # KFP knows lists of artifacts by this name

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.step import step


@step
def bundle(
    dataset: Input[Dataset],
    retrained: Input[List[Artifact]],  # noqa: UP006
    transferred: Input[List[Artifact]],  # noqa: UP006
    best: Output[Model],
    others: Output[Artifact],
) -> None:
    """Bundle, of every model, the seed that was best on the validation split; it scores raw rows by itself.

    Args:
        dataset: Manifest of an encoded data set.
        retrained: Models that retrain wrote, one folder for each seed.
        transferred: Models that transfer wrote, likewise.
        best: The model that the search found.
        others: The models that it was transferred to, a folder for each.
    """
    from pathlib import Path

    from ctrloom import stages

    folders = [[Path(artifact.path) for artifact in artifacts] for artifacts in (retrained, transferred)]
    stages.bundle(Path(dataset.path), *folders, Path(best.path), Path(others.path))
