"""The tuning of all models."""

from typing import List  # noqa: UP035  # KFP needs this name for lists of artifacts

from kfp.dsl import Artifact, Input, Markdown, Metrics, Output

from components.step import step


@step
def collect_tuning(
    parts: Input[List[Artifact]],  # noqa: UP006
    tuned: Output[Artifact],
    summary: Output[Metrics],
    page: Output[Markdown],
) -> None:
    """Collect tuned models, or single trials of them, in one file.

    Args:
        parts: Folders that tune or tune_trial wrote.
        tuned: Folder with tuning.json.
        summary: Best validation score of every model.
        page: Budget, trials, scores and best settings of every model.
    """
    from pathlib import Path

    from ctrloom import stages, storage
    from ctrloom.report import tuning
    from ctrloom.runners import display

    found = stages.collect_tuning([Path(part.path) for part in parts], Path(tuned.path)).summary()
    models = found.models if found else ()
    display.show_metrics({f"best_{model.name}": model.best for model in models}, summary)
    storage.write_text(Path(page.path), tuning.markdown(found))
