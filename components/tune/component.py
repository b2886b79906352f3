"""Tune hyper-parameters on validation rows."""

from kfp.dsl import Artifact, Dataset, Input, Output

from components.step import step


@step
def tune(
    dataset: Input[Dataset],
    tuned: Output[Artifact],
    job: dict,  # type: ignore[type-arg]
    store: str,
    tuning: dict = {},  # type: ignore[type-arg]  # noqa: B006
    search: Input[Artifact] = None,  # type: ignore[assignment]
) -> None:
    """Tune the models of one job, one after the other; every model of a run gets the same budget.

    Args:
        dataset: Manifest of an encoded data set.
        tuned: Folder with tuning.json, and the result of the search if the job has one.
        job: Models to tune, their configured settings, the seed, and a search to run first; empty for none.
        store: Directory in which finished trials are kept, so that a stopped step resumes.
        tuning: Budget, sampler, pruner and spaces (section `tuning` of a run configuration).
        search: Folder that a search wrote, for models that use its result.
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config.tuning import TuningConfig, TuningJob
    from ctrloom.runners import component

    stages.tune(
        Path(dataset.path),
        TuningJob.parse(job, "job"),
        TuningConfig.parse(tuning, "tuning"),
        component.folder(store) / "studies",
        Path(tuned.path),
        Path(search.path) if search else None,
    )
