"""Reads the records of a run into what trackers show."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ctrloom import storage
from ctrloom.config.url_secrets import redacted
from ctrloom.config.version import code_version
from ctrloom.data.dataset import Dataset
from ctrloom.evaluation.compare import SUMMARISED
from ctrloom.evaluation.drift import Drift
from ctrloom.evaluation.markdown import promotion_markdown
from ctrloom.evaluation.promotion_gate import load_verdict
from ctrloom.evaluation.results import ModelResult, Results
from ctrloom.metrics.measure import Metrics
from ctrloom.models.bundle import load_card
from ctrloom.report import tuning as tuning_report
from ctrloom.report.markdown import markdown
from ctrloom.report.table_verdict import table_verdict
from ctrloom.search_trace import SearchTrace
from ctrloom.tracking.nodes import Kind, Node, Tracked, digest, flat
from ctrloom.tracking.places import Places
from ctrloom.training.history import Epoch
from ctrloom.training.runs import open_runs
from ctrloom.tuning.record import Budget, TunedModel, Tuning

# Sections that say where data is and what is shown, not how models are trained.
NOT_PARAMETERS = {"name", "title", "note", "data", "searches", "expected", "entries", "bundles", "tracking"}


class NothingToTrackError(storage.StorageError):
    """A folder has no record of a run."""


def read(name: str, places: Places) -> Tracked:
    """What to show of a run; `name` is that of a tuning or retraining, as others have theirs in the records.

    Raises:
        NothingToTrackError: there is no record of a run.
        StorageError: a record is damaged.
    """
    if places.verdict:
        return _retraining(name, places.verdict, places)
    if places.metrics:
        return _results(Results.load(places.metrics), places)
    if places.tuning:
        return _tuning(name, Tuning.load(places.tuning), places)
    raise NothingToTrackError("there is no metrics.json, verdict.json or tuning.json of a finished run")


def _results(results: Results, places: Places) -> Tracked:
    """A run or a comparison: the model that the search found, or the best one, then all models."""
    kind: Kind = "compare" if "entries" in results.config else "run"
    config = {key: value for key, value in results.config.items() if key != "tracking"}
    trace = SearchTrace.load(places.search / "search.json") if places.search else None
    shown = results.best if kind == "compare" else results.shown
    text = "\n\n".join(table_verdict(results).lines) if kind == "compare" else markdown(results, trace)
    data = results.data
    tags = {
        "data_fingerprint": data.data_fingerprint,
        "schema_fingerprint": data.schema_fingerprint,
        "code_version": results.code_version,
        "shown_model": shown.name,
        "best_model": results.best.name,
        "base_model": results.base,
        **({"outcome": "trainings ended too early"} if results.unfinished else {}),
    }
    parameters = {key: value for key, value in config.items() if key not in NOT_PARAMETERS}
    rows = {f"{split}_rows": float(count) for split, count in data.rows.items()}
    node = Node(
        data.name,
        tags,
        dict(flat(parameters)),
        _summary(shown) | rows,
        children=tuple(_model(model, results) for model in results.models),
    )
    identity = digest([kind, data.name, config, data.data_fingerprint, results.code_version])
    return Tracked(kind, identity, node, text, _files(places), places.bundle, places.search)


def _summary(model: ModelResult) -> dict[str, float]:
    """Metrics of a model: means over its seeds, and standard deviations if there are several seeds."""
    spreads = [
        (f"{split}_{name}", spread) for split, its in model.summary.items() for name, spread in its.items()
    ]
    spreads += [(f"{split}_gauc", spread) for split, spread in model.gauc.items()]
    means = {name: spread.mean for name, spread in spreads}
    return means | {f"{name}_sd": spread.sd for name, spread in spreads if spread.sd is not None}


def _model(model: ModelResult, results: Results) -> Node:
    metrics = _summary(model) | {
        "parameters": float(model.parameters),
        "train_seconds": model.train_seconds,
        "search_seconds": model.search_seconds,
        "train_rows_per_second": model.train_rows_per_second,
        "inference_rows_per_second": model.inference_rows_per_second,
        **{f"kept_order_{order}": kept for order, kept in model.kept.items()},
    }
    if versus := results.versus_base(model.name):
        for metric, test in (("auc", versus.auc), ("logloss", versus.logloss)):
            metrics |= {f"test_{metric}_vs_base": test.delta, f"test_{metric}_vs_base_p": test.p_adjusted}
    seeds = tuple(
        Node(
            f"seed-{each.seed}" + (f"-draw-{each.draw}" if each.draw is not None else ""),
            {"model": model.name, "seed": str(each.seed)},
            dict(flat(model.hyperparameters)),
            _measured(each.valid, "valid_") | _measured(each.test, "test_"),
            _curves(curve),
        )
        for each, curve in zip(model.seeds, model.curves, strict=True)
    )
    tags = {"model": model.name, "title": model.title, "kind": model.kind}
    limit = {"limited_by": model.limited_by} if model.limited_by else {}
    return Node(model.name, tags | limit, dict(flat(model.hyperparameters)), metrics, children=seeds)


def _measured(metrics: Metrics, prefix: str) -> dict[str, float]:
    return {f"{prefix}{name}": float(getattr(metrics, name)) for name in SUMMARISED}


def _curves(epochs: tuple[Epoch, ...]) -> dict[str, tuple[float, ...]]:
    names = "train_logloss", "valid_auc", "valid_logloss"
    return {f"epoch/{name}": tuple(float(getattr(each, name)) for each in epochs) for name in names}


def _tuning(name: str, tuning: Tuning, places: Places) -> Tracked:
    """Every model that was tuned, and its trials."""
    budget = tuning.budget
    if budget is None:
        raise NothingToTrackError("tuning.json has no models")
    models = tuple(_tuned(model, budget) for model in tuning.models)
    tags = {"code_version": code_version()}
    if places.dataset:
        dataset = Dataset.open(places.dataset)
        tags |= {
            "data_fingerprint": dataset.data_fingerprint,
            "schema_fingerprint": dataset.schema.fingerprint,
        }
    found = {f"best_{budget.metric}/{model.name}": model.metrics[f"best_{budget.metric}"] for model in models}
    parameters = {f"tuning.{key}": value for key, value in flat(budget.model_dump(mode="json"))}
    node = Node(name, tags, parameters, found, children=models)
    timeless = [
        (m.name, m.model, [(t.number, t.state, t.settings, t.scores) for t in m.trials])
        for m in tuning.models
    ]
    identity = digest(["tune", name, budget.model_dump(mode="json"), timeless])
    return Tracked("tune", identity, node, tuning_report.markdown(tuning.summary()), _files(places))


def _tuned(model: TunedModel, budget: Budget) -> Node:
    best, metric = model.best(budget.metric), budget.metric
    trials = tuple(
        Node(
            f"trial-{trial.number}",
            {"model": model.name, "state": trial.state}
            | ({"reason": trial.reason[:500]} if trial.reason else {}),
            dict(flat(trial.settings)),
            {"seconds": trial.seconds} | ({} if trial.score is None else {f"valid_{metric}": trial.score}),
            {f"epoch/best_valid_{metric}": trial.scores} if trial.scores else {},
        )
        for trial in model.trials
    )
    assert best.score is not None, "the best trial is complete"
    figures = {f"best_{metric}": best.score, "best_trial": float(best.number), "seconds": model.seconds}
    tags = {"model": model.name, "title": model.model, "kind": "tuned"}
    return Node(model.name, tags, dict(flat(best.settings)), figures, children=trials)


def _retraining(name: str, at: Path, places: Places) -> Tracked:
    """The challenger, compared with the champion, the drift of its data, and the curves of its seeds."""
    verdict = load_verdict(at)
    tags = {
        "data_fingerprint": verdict.data_fingerprint,
        "trained_on": verdict.challenger.trained_on,
        "code_version": verdict.code_version,
        "promote": str(verdict.promote).lower(),
        "reason": verdict.reason,
        "champion": (verdict.champion and verdict.champion.version) or "none",
    }
    metrics = _measured(verdict.challenger.metrics, "test_")
    if verdict.champion:
        metrics |= _measured(verdict.champion.metrics, "champion_test_")
    for metric, test in (("auc", verdict.auc), ("logloss", verdict.logloss)):
        if test:
            metrics |= {f"test_{metric}_vs_champion": test.delta, f"test_{metric}_vs_champion_p": test.p}
    if places.drift:
        drift = storage.read_record(places.drift, Drift)
        metrics |= {"drift/label_rate_change": drift.label_rate_change, "drift/alarms": len(drift.alarms)}
        metrics |= {f"drift/stability/{each.name}": each.stability for each in drift.fields}
        metrics |= {f"drift/unseen/{each.name}": each.unseen_now for each in drift.fields}
    parameters: dict[str, Any] = {}
    trained: list[Any] = [verdict.challenger.trained_on, tags["champion"], verdict.code_version]
    if places.bundle:
        card = load_card(places.bundle)
        parameters = dict(flat({"model": card.model, **card.hyperparameters.model_dump(mode="json")}))
        tags["schema_fingerprint"] = card.schema_fingerprint
        if card.days:
            tags |= {"first_day": str(card.days[0]), "last_day": str(card.days[1])}
        trained += [parameters, card.architecture_fingerprint]
    seeds = tuple(_trainings(places.runs)) if places.runs else ()
    node = Node(name, tags, parameters, metrics, children=seeds)
    files, text = _files(places), promotion_markdown(verdict)
    return Tracked("retrain", digest(["retrain", name, trained]), node, text, files, places.bundle)


def _trainings(folder: Path) -> Iterator[Node]:
    for run in open_runs(folder):
        for each in run.record.seeds:
            history = each.history
            figures = {
                "valid_auc": history.best_epoch.valid_auc,
                "valid_logloss": history.best_epoch.valid_logloss,
                "train_seconds": history.seconds,
                "train_rows_per_second": history.rows_per_second,
            }
            tags = {"model": run.record.name, "seed": str(each.seed)}
            settings = dict(flat(run.record.hyperparameters.model_dump(mode="json")))
            yield Node(each.folder, tags, settings, figures, _curves(history.epochs))


def _files(places: Places) -> tuple[Path, ...]:
    """Small files that a tracker keeps: records and pages, without rows and weights."""
    searched = (
        [places.search / name for name in ("architecture.json", "search.json")] if places.search else []
    )
    bundled = [places.bundle / "architecture.json"] if places.bundle and not searched else []
    tuned = [places.tuning / "tuning.json"] if places.tuning else []
    single = (places.metrics, places.page, places.verdict, places.drift)
    every = [*(path for path in single if path), *searched, *bundled, *tuned]
    return tuple(path for path in every if path.is_file())


def shown(text: object, longest: int) -> str:
    """Text of a run without secrets, cut to what a tracker takes."""
    plain = redacted(str(text))
    return plain if len(plain) <= longest else plain[: longest - 3] + "..."
