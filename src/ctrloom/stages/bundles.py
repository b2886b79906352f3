"""Bundles of the best model of a whole table, and of any other that is asked for.

Files: best.json     which model is the best on the validation rows
       best/         its bundle
       <name>/       the bundle of a model that was asked for
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal

from ctrloom import storage
from ctrloom.config.base import ConfigError, StrictModel
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.results import best_on_validation
from ctrloom.models.bundle import MODEL
from ctrloom.training.runs import Run

BEST, RECORD = "best", "best.json"
FILES = RECORD, f"*/{MODEL}"


class Best(StrictModel):
    """`best.json`: the best of all models on validation rows."""

    version: Literal[1] = 1
    name: str
    title: str
    valid_auc: float
    seed: int  # of the bundle: the best on the validation rows
    bundles: tuple[str, ...]  # that were asked for


def write_bundles(
    dataset: Dataset,
    trained: Mapping[str, Sequence[Run]],
    names: Sequence[str],
    output: Path,
    titles: Mapping[str, str] | None = None,
) -> Best:
    """Export the best model and the models `names`; each bundle has the model's best seed.

    `titles` replaces the titles in the bundles, by model.

    Raises:
        ConfigError: a model that is asked for was not trained.
    """
    if unknown := [name for name in names if name not in trained]:
        raise ConfigError(f"bundles: {unknown[0]!r} was not trained; choose from {', '.join(trained)}")
    titles = titles or {}
    best = best_on_validation({name: valid_auc(runs) for name, runs in trained.items()})
    run = best_run(trained[best])
    record = Best(
        name=best,
        title=titles.get(best, run.record.title),
        valid_auc=valid_auc(trained[best]),
        seed=run.record.best.seed,
        bundles=tuple(names),
    )
    with storage.atomic_directory(output, *FILES) as temporary:
        run.export(dataset, temporary / BEST, record.title)
        for name in names:
            best_run(trained[name]).export(dataset, temporary / name, titles.get(name))
        storage.write_record(temporary / RECORD, record)
    return record


def best_run(runs: Sequence[Run]) -> Run:
    """The run that has a model's best seed on the validation rows."""
    return max(runs, key=lambda run: run.record.best_score)


def valid_auc(runs: Sequence[Run]) -> float:
    """Validation AUC of a model, mean over its seeds, as its trainings measured it."""
    return fmean(each.history.best_epoch.valid_auc for run in runs for each in run.record.seeds)
