"""Train the found model with its controls, the transfer models, and the baselines."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ctrloom import distributed, storage
from ctrloom.architecture import Architecture
from ctrloom.config import METHODS, MODELS, ModelsConfig, Transfer, tuned_transfers
from ctrloom.config.base import ConfigError, parse
from ctrloom.config.search import WITHOUT_RETRAINING
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.seeds import require_same_seeds
from ctrloom.methods.interface import SearchResult
from ctrloom.models.bundle import FILES, MODEL
from ctrloom.models.left_out import left_out
from ctrloom.progress import note
from ctrloom.stages.bundles import best_run, write_bundles
from ctrloom.stages.feasibility import require_model
from ctrloom.stages.search_stage import (
    ARCHITECTURE,
    read_result,
    require_searched,
    searched_settings,
    weights_of,
)
from ctrloom.storage import Place
from ctrloom.training.plans import Plan, train_runs
from ctrloom.training.processes import data_parallel
from ctrloom.training.runs import Run, open_by_name, seeds_of
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
    "selection": "{}, selection only",  # a transfer without functions
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
    of: Sequence[int] = (),
) -> None:
    """Train the model that the search found, from scratch, and its controls (all, or those named).

    The gates are reinitialised and kept as attention weights (AutoFIS, section 3.2). `bundle` receives the
    seed that was best on the validation split. A control with the weights of the search is scored instead of
    trained, as one model of all seeds. After a search that found nothing, controls of the same size
    are left out. With the folder that tune wrote, `tuned`, controls also have the settings that were best for
    the found model. `of` are all seeds of the run, if others are trained elsewhere: they share the random
    selections.

    Raises:
        ConfigError: a named control that the search did not write, or the model was not tuned.
    """
    if bundle:
        storage.require_own(bundle, *FILES)
    dataset = Dataset.open(manifest)
    searched = read_result(search_folder)
    trace, base = searched.trace, searched.trace.base
    models = Tuning.load(tuned).applied(models, {base: base})
    title = title_of(trace.method.replace("_", "-"), base) if trace.by_statistic else MODELS[base].title
    found = require_searched(searched.architecture, search_folder, dataset)
    plans = [Plan(base, title, "retrained", base, (found,))]
    found_controls = searched.controls
    if (missing := set(controls or ()) - set(found_controls)) and not found.is_empty:
        raise not_written(min(missing), searched)
    wanted = found_controls if controls is None else [name for name in controls if name not in missing]
    for name in wanted:
        shown, selections = title_of(name, base), found_controls[name]
        plan = Plan(f"{base}-{name}", shown, "control", base, selections, counterpart=base)
        if (weights := weights_of(search_folder, name)).is_file():
            plan = replace(plan, weights=weights, settings=searched_settings(found))
        plans.append(plan)
    train_runs(dataset, plans, models, seeds, output, of)
    if bundle and distributed.is_rank_zero():
        _export(dataset, open_by_name([output])[base], bundle)


@data_parallel
def transfer(
    manifest: str | Place,
    search_folder: Path,
    targets: Sequence[Transfer | str],
    models: ModelsConfig,
    seeds: Sequence[int],
    output: Path,
    bundles: Path | None = None,
    tuned: Path | None = None,
    of: Sequence[int] = (),
) -> None:
    """Train other models over the interactions that the search found, or over other selections of it.

    A bundle of each goes to `bundles`, by its name, except of controls. If the search found nothing, no model
    is trained, and the folders are empty. `tuned` is the folder that tune wrote; all transfers to a model
    have the same settings. `of` is as for `retrain`.

    Raises:
        ConfigError: a model was not tuned, but others were, or the search did not write a selection.
    """
    if bundles:
        storage.require_own(bundles, *BUNDLES)
    dataset = Dataset.open(manifest)
    moved = [parse(Transfer, target, "transfer") for target in targets]
    tuned_as = {model: f"{name}-transfer" for model, name in tuned_transfers(moved).items()}
    models = Tuning.load(tuned).applied(models, tuned_as)
    searched = read_result(search_folder)
    found = require_searched(searched.architecture, search_folder, dataset)
    plans = [_transferred(each, moved, searched) for each in (() if found.is_empty else moved)]
    for plan in plans:
        if why := left_out(plan.model, plan.architectures[0]):
            note(f"{plan.title}: {why}")
    train_runs(dataset, plans, models, seeds, output, of)
    if bundles and distributed.is_rank_zero():
        with storage.atomic_directory(bundles, *BUNDLES) as temporary:
            trained = open_by_name([output])
            for plan in (plan for plan in plans if plan.kind == "transfer"):
                _export(dataset, trained[plan.name], temporary / plan.name.removesuffix("-transfer"))


def _transferred(each: Transfer, others: Sequence[Transfer], searched: SearchResult) -> Plan:
    """The model to train for a transfer; one of another selection is compared with that of what was found."""
    model, found, title = each.model, searched.architecture, title_of(each.of, each.model)
    name, plain = f"{each.name}-transfer", f"{model}-transfer"
    has_plain = any(other.name == model for other in others)
    if each.of == "found":
        title = f"{MODELS[model].title}, transferred"
        return Plan(name, title, "transfer", model, (found,), counterpart=model)
    if each.of == "selection":
        counterpart = plain if has_plain else model
        return Plan(name, title, "transfer", model, (found.selection,), counterpart=counterpart)
    if each.of not in searched.controls:
        raise not_written(each.of, searched)
    counterpart = plain if has_plain else searched.trace.base
    return Plan(name, title, "control", model, searched.controls[each.of], counterpart=counterpart)


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
            if (record := runs[0].record).kind == "transfer":
                _export(dataset, runs, temporary / record.name.removesuffix("-transfer"))
    if Architecture.load(best / ARCHITECTURE).is_empty:
        names = [name for name in names if name in every]
    write_bundles(dataset, every, names, bundles)


def not_written(control: str, searched: SearchResult) -> ConfigError:
    """The error for a control that the search did not write."""
    there = ", ".join(searched.controls) or "none"
    return ConfigError(f"controls: {control!r} is not a control of this search: {there}")


def title_of(selection: str, base: str) -> str:
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
