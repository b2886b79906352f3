"""One job of a comparison: one entry with one seed."""

from kfp.dsl import Artifact, Dataset, Input, Output

from components.step import step


@step
def compare_job(
    dataset: Input[Dataset],
    done: Output[Artifact],
    job: dict,  # type: ignore[type-arg]
    models: dict = {},  # type: ignore[type-arg]  # noqa: B006
    tuned: Input[Artifact] = None,  # type: ignore[assignment]
) -> None:
    """Search and train one entry of a comparison with one seed.

    A failure that follows from the inputs is recorded for the table, and the step succeeds. After any other
    failure, such as a lost connection, the step fails and is retried.

    Args:
        dataset: Manifest of an encoded data set.
        done: What the search found, and the trained models; or failure.json.
        job: The entry of the comparison, the seed, and its number of random selections.
        models: Hyper-parameters per model (section `models` of the comparison).
        tuned: Folder that tune wrote, whose best settings are used.
    """
    from pathlib import Path

    from ctrloom import stages
    from ctrloom.config import Entry, ModelsConfig

    entry = Entry.parse(job["entry"], "job.entry")
    stages.run_job(
        Path(dataset.path),
        entry,
        int(job["seed"]),
        ModelsConfig.parse(models),
        Path(done.path),
        Path(tuned.path) if tuned else None,
        draws=int(job.get("draws", 1)),
        record_failure=True,
    )
