"""The trials of a random search."""

from typing import List  # noqa: UP035  # KFP needs this name for typed lists

from kfp.dsl import Artifact, Dataset, Input

from components.step import step


@step
def plan_trials(
    dataset: Input[Dataset],
    tunings: list,  # type: ignore[type-arg]
    tuning: dict = {},  # type: ignore[type-arg]  # noqa: B006
    search: Input[Artifact] = None,  # type: ignore[assignment]
) -> List[dict]:  # type: ignore[type-arg]  # noqa: UP006
    """Draw the settings of all trials by random search, so that they can run in parallel.

    Args:
        dataset: Manifest of an encoded data set.
        tunings: Jobs: models to tune, their configured settings, and the seed.
        tuning: Budget and spaces (section `tuning` of a run configuration).
        search: Folder that a search wrote, for models that use its result.
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config.tuning import TuningConfig, TuningJob

    return stages.plan_trials(  # type: ignore[no-any-return]
        Path(dataset.path),
        [TuningJob.parse(job, "tunings") for job in tunings],
        TuningConfig.parse(tuning, "tuning"),
        Path(search.path) if search else None,
    )
