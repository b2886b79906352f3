"""Bundle the best seed of each model."""

from typing import List  # noqa: UP035  # KFP knows lists of artifacts by this name

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
    """Bundle, of every model, the seed that was best on the validation split; it scores raw rows on its own.

    Args:
        dataset: Manifest of an encoded data set.
        retrained: Models that retrain wrote, one folder for each seed.
        best: The model that the search found.
        others: The models that it was transferred to, a folder for each.
        transferred: Models that transfer wrote, likewise; none where nothing can be transferred.
    """
    from pathlib import Path

    from ctrloom import stages

    found = (retrained, transferred or [])
    folders = [[Path(artifact.path) for artifact in artifacts] for artifacts in found]
    stages.bundle(Path(dataset.path), *folders, Path(best.path), Path(others.path))
