"""Train the found model with its controls, the transfer models, and the baselines."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ctrloom import distributed, storage
from ctrloom.architecture import Architecture
from ctrloom.config import METHODS, MODELS, ModelsConfig
from ctrloom.config.base import ConfigError
from ctrloom.config.search import WITHOUT_RETRAINING
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.seeds import require_same_seeds
from ctrloom.models.bundle import FILES, MODEL
from ctrloom.models.left_out import left_out
from ctrloom.progress import note
from ctrloom.stages.bundles import best_run, write_bundles
from ctrloom.stages.feasibility import require_model
from ctrloom.stages.search_stage import (
    ARCHITECTURE,
    found_architecture,
    read_result,
    require_searched,
    searched_settings,
    weights_of,
)
from ctrloom.storage import Place
from ctrloom.training.processes import data_parallel
from ctrloom.training.runs import Plan, Run, open_by_name, seeds_of, train_runs
from ctrloom.tuning.record import Tuning

BUNDLES = (f"*/{MODEL}",)  # what a folder of bundles has
TITLES = {  # of controls, and of the result of a method that trains nothing
    "random": "{}, random selection",
    "unpruned": "{}, all gates",
    "statistics-auc": "{}, by statistics-AUC",
    "whole-embeddings": "{}, whole embeddings",
    "all-memorize": "{}-M, all pairs memorized",
    "all-hadamard": "{}-F, all pairs factorized",
    WITHOUT_RETRAINING: "{}, without retraining",
}


@data_parallel
def retrain(
    manifest: str | Place,
    search_folder: Path,
    models: ModelsConfig,
    seeds: Sequence[int],
    output: Path,
    bundle: Path | None = None,
    controls: Sequence[str] | None = None,
    tuned: Path | None = None,
) -> None:
    """Train the model that the search found, from scratch, and its controls (all, or those named).

    The gates are reinitialised and kept as attention weights (AutoFIS, section 3.2). `bundle` receives the
    seed that was best on the validation split. A control with the weights of the search is scored instead of
    trained, as one model of all seeds. After a search that found nothing, controls of the same size
    are left out. With the folder that tune wrote, `tuned`, controls also have the settings that were best for
    the found model.

    Raises:
        ConfigError: a named control that the search did not write, or the model was not tuned.
    """
    if bundle:
        storage.require_own(bundle, *FILES)
    dataset = Dataset.open(manifest)
    searched = read_result(search_folder)
    trace, base = searched.trace, searched.trace.base
    models = Tuning.load(tuned).applied(models, {base: base})
    title = _title(trace.method.replace("_", "-"), base) if trace.by_statistic else MODELS[base].title
    found = require_searched(searched.architecture, search_folder, dataset)
    plans = [Plan(base, title, "retrained", base, (found,))]
    found_controls = searched.controls
    if (missing := set(controls or ()) - set(found_controls)) and not found.is_empty:
        raise ConfigError(
            f"controls: {min(missing)!r} is not a control of this search: "
            f"{', '.join(found_controls) or 'none'}"
        )
    wanted = found_controls if controls is None else [name for name in controls if name not in missing]
    for name in wanted:
        shown, selections = _title(name, base), found_controls[name]
        plan = Plan(f"{base}-{name}", shown, "control", base, selections, counterpart=base)
        if (weights := weights_of(search_folder, name)).is_file():
            plan = replace(plan, weights=weights, settings=searched_settings(found))
        plans.append(plan)
    train_runs(dataset, plans, models, seeds, output)
    if bundle and distributed.is_rank_zero():
        _export(dataset, open_by_name([output])[base], bundle)


@data_parallel
def transfer(
    manifest: str | Place,
    search_folder: Path,
    targets: Sequence[str],
    models: ModelsConfig,
    seeds: Sequence[int],
    output: Path,
    bundles: Path | None = None,
    tuned: Path | None = None,
) -> None:
    """Train other models over the interactions that the search found; a bundle of each goes to `bundles`.

    If the search found none, no model is trained, and the folders are empty. `tuned` is the folder that tune
    wrote.

    Raises:
        ConfigError: a model was not tuned, but others were.
    """
    if bundles:
        storage.require_own(bundles, *BUNDLES)
    dataset = Dataset.open(manifest)
    models = Tuning.load(tuned).applied(models, {name: f"{name}-transfer" for name in targets})
    found = found_architecture(search_folder, dataset)
    plans = [
        Plan(f"{t}-transfer", f"{MODELS[t].title}, transferred", "transfer", t, (found,), counterpart=t)
        for t in (() if found.is_empty else targets)
    ]
    for plan in plans:
        if why := left_out(plan.model, found):
            note(f"{plan.title}: {why}")
    train_runs(dataset, plans, models, seeds, output)
    if bundles and distributed.is_rank_zero():
        with storage.atomic_directory(bundles, *BUNDLES) as temporary:
            trained = open_by_name([output])
            for plan in plans:
                _export(dataset, trained[plan.name], temporary / plan.model)


@data_parallel
def baselines(
    manifest: str | Place,
    names: Sequence[str],
    models: ModelsConfig,
    seeds: Sequence[int],
    output: Path,
    orders: Sequence[int] = (2,),
    tuned: Path | None = None,
    deterministic: bool | None = None,
) -> None:
    """Train models that use every interaction of the given orders, or none.

    `tuned` is the folder that tune wrote. With `deterministic`, only those are trained that every seed gives
    the same model of (True), or only the others (False).

    Raises:
        ConfigError: a model was not tuned, but others were.
    """
    models = Tuning.load(tuned).applied(models, {name: name for name in names})
    if deterministic is not None:
        names = [name for name in names if MODELS[name].same_for_every_seed(models.of(name)) == deterministic]
    dataset = Dataset.open(manifest)
    for name in names:
        require_model(name, orders, dataset.schema, models)  # before the first of them is trained
    complete = Architecture.complete(dataset.schema.names, orders)
    plans = [Plan(name, MODELS[name].title, "baseline", name, (complete,)) for name in names]
    train_runs(dataset, plans, models, seeds, output)


def bundle(
    manifest: str | Place,
    retrained: Sequence[Path],
    transferred: Sequence[Path],
    baselines: Sequence[Path],
    names: Sequence[str],
    best: Path,
    others: Path,
    bundles: Path,
) -> None:
    """Export each model's best seed on the validation split: the found model to `best`.

    Transfer models go to folders in `others`; the best of all models and those named go to `bundles`.
    `retrained`, `transferred` and `baselines` are folders of seeds. After a search that found nothing, named
    models that were left out are skipped.

    Raises:
        EvaluationError: models were trained with different seeds, so that their best are not comparable.
        ConfigError: a named model was not trained.
    """
    dataset = Dataset.open(manifest)
    retrained_runs, transferred_runs = open_by_name(retrained), open_by_name(transferred)
    every = {**retrained_runs, **transferred_runs, **open_by_name(baselines)}
    require_same_seeds(seeds_of(every))
    (found,) = (name for name, runs in retrained_runs.items() if runs[0].record.kind == "retrained")
    _export(dataset, retrained_runs[found], best)
    with storage.atomic_directory(others, *BUNDLES) as temporary:
        for runs in transferred_runs.values():
            _export(dataset, runs, temporary / runs[0].record.model)
    if Architecture.load(best / ARCHITECTURE).is_empty:
        names = [name for name in names if name in every]
    write_bundles(dataset, every, names, bundles)


def _title(selection: str, base: str) -> str:
    """Display name of a model with a control, or with what a method selected."""
    if selection == "unpruned" and MODELS[base].baseline:  # without gates
        title = "{}, all interactions"
    elif selection.replace("-", "_") in METHODS and selection not in TITLES:
        title = "{}, by " + METHODS[selection.replace("-", "_")].measure
    else:
        title = TITLES.get(selection, "{}, " + selection.replace("-", " "))
    return title.format(MODELS[base].title)


def _export(dataset: Dataset, runs: Sequence[Run], bundle: Path) -> None:
    best_run(runs).export(dataset, bundle)
