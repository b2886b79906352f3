"""Every command that works for long or writes results, on the smallest data: what is killed and starved.

A scenario's command may name `{out}`, where it writes, and what the scenarios before it printed last: their
manifest or folder.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctrloom.runners.resume import BEGUN

CHECKPOINTS = ".runs.checkpoints"  # in the folder that `retrain` writes
FLIPPED = "flipped"  # where scenarios run whose input has a flipped byte

COLUMNS = {"click": "label", "field_00..field_03": "categorical"}
MODELS = {"default": {"embedding_size": 4, "hidden": [8], "epochs": 2, "batch_size": 300, "decays": 0}}
RUN: dict[str, Any] = {
    "name": "small",
    "data": {"files": "clicks.csv", "columns": COLUMNS},
    "vocabulary": {"min_count": 2, "crosses": {"min_count": 3}},
    "search": {"epochs": 2, "random_draws": 1, "permuted": 4},
    "models": MODELS,
    "baselines": ["lr", "fm"],
    "transfer": ["ipnn"],
    "seeds": [0, 1],
    "evaluation": {"base": "fm", "truth": "truth.json", "bootstrap": 20},
    "tuning": {"trials": 3},
}
METHODS: dict[str, dict[str, Any]] = {
    "autofis": RUN["search"],
    "aim": {"method": "aim", "epochs": 1, "embedding_epochs": 1, "random_draws": 1, "permuted": 4},
    "optinter": {"method": "optinter", "epochs": 2, "random_draws": 1},
    "autopi": {
        "method": "autopi",
        "epochs": 3,
        "frozen": 1,
        "nodes": 2,
        "random_draws": 1,
        "batch_size": 500,
    },
    "residual": {"method": "residual", "random_draws": 1},
    "random": {"method": "random", "keep": {2: 2}, "random_draws": 1},
    "statistics_auc": {"method": "statistics_auc", "keep": {2: 2}, "random_draws": 1},
    "mutual_information": {"method": "mutual_information", "keep": {2: 2}, "random_draws": 1},
}
COMPARE = {
    **{key: RUN[key] for key in ("data", "vocabulary")},
    "name": "compared",
    "models": {"default": {**MODELS["default"], "epochs": 30, "patience": 1, "learning_rate": 0.05}},
    "seeds": [0],
    "evaluation": {"base": "lr", "bootstrap": 20},
    "entries": [
        {"name": "lr", "model": "lr"},
        {"name": "fm", "model": "fm"},
        {"name": "autofis", "search": {**RUN["search"], "method": "autofis"}},
    ],
}
DAILY = {
    "name": "daily",
    "registry": "registry",
    "data": {
        "files": "clicks-{date}.csv",
        "columns": {**COLUMNS, "time": "timestamp"},
        "split": {"by": "time", "valid": 0.1, "test": 0.2},
    },
    "growth": {"min_count": 5},
    "training": {"seeds": [0], "settings": {"epochs": 30, "patience": 1, "learning_rate": 0.05}},
    "gate": {"require": "not_worse", "auc_margin": 0.5, "logloss_margin": 0.5, "bootstrap": 20},
}
FIRST = {**RUN, "name": "first", "data": {**DAILY["data"], "files": "clicks-2026-01-01.csv"}, "seeds": [0]}
NIGHTLY = {"name": "nightly", "bundle": "reference/retrain/bundle", "files": "part-*.csv"}
JOINED = {**RUN, "data": {"files": "reference/join-labels/joined.parquet", "columns": COLUMNS}}
JOINED["data"]["format"] = "parquet"


@dataclass(frozen=True)
class Scenario:
    """A command, and what it needs to be ready in `{out}` before it starts."""

    name: str
    command: str
    prepare: Callable[[Path, Path], None] | None = None  # folder of all files, `out`
    whole: bool = False  # a whole pipeline rather than one stage
    again: bool = False  # resumes what another one wrote
    # Where the same command starts something new after its end: whether it has ended
    ended: Callable[[Path], bool] | None = None


def _registry(folder: Path, out: Path) -> None:
    """A registry with the first champion."""
    shutil.copytree(folder / "reference" / "promote" / "registry", out / "registry")


def _studies(folder: Path, out: Path) -> None:
    """What tuning has recorded when it was stopped just before its end."""
    shutil.copytree(folder / "reference" / "tune" / "studies", out / "studies")


def _jobs(folder: Path, out: Path) -> None:
    """What a comparison has when it was stopped just before its table."""
    shutil.copytree(folder / "reference" / "compare", out, dirs_exist_ok=True)
    shutil.rmtree(out / "comparison")


def _stopped(folder: Path, out: Path) -> None:
    """A run whose steps up to the retraining are finished."""
    shutil.copytree(folder / "reference" / "stopped", out, dirs_exist_ok=True)


def _checkpoints(folder: Path, out: Path) -> None:
    """The checkpoints of a retraining that was stopped."""
    shutil.copytree(folder / "reference" / "checkpoints", out / CHECKPOINTS)


def _search_checkpoints(folder: Path, out: Path) -> None:
    """The checkpoints of a search that was stopped."""
    to = out.with_name(f".{out.name}.checkpoints")
    shutil.copytree(folder / "reference" / "search-checkpoints", to, dirs_exist_ok=True)


def _predictions(folder: Path, out: Path) -> None:
    """A folder of predictions that is complete."""
    shutil.copytree(folder / "reference" / "predict-folder" / "scores", out / "scores")


def _promoted(out: Path) -> bool:
    return (out / "day" / "report.md").is_file() and not (out / "day" / BEGUN).exists()


TRAINED = "--dataset {vocabulary} --search {folder}/reference/autofis"
TUNE = f"tune run.yaml {TRAINED} --output {{out}}"
PREDICT_FOLDER = "predict --bundle {retrain}/bundle --input part-*.csv --output {out}/scores/"
SCENARIOS = (
    Scenario("ingest", "ingest run.yaml --store {out}"),
    Scenario("vocabulary", "vocabulary run.yaml --ingested {ingest} --store {out}"),
    *(
        Scenario(method, f"search {method}.yaml --dataset {{vocabulary}} --output {{out}}")
        for method in METHODS
    ),
    Scenario("search-interactions", "search-interactions aim.yaml --dataset {vocabulary} --output {out}"),
    Scenario(
        "search-embeddings",
        "search-embeddings aim.yaml --dataset {vocabulary} --search {folder}/reference/search-interactions"
        " --output {out}",
    ),
    Scenario("tune", TUNE),
    Scenario("retrain", f"retrain run.yaml {TRAINED} --output {{out}}"),
    Scenario("transfer", f"transfer run.yaml {TRAINED} --output {{out}}"),
    Scenario("baselines", "baselines run.yaml --dataset {vocabulary} --output {out}"),
    Scenario(
        "evaluate",
        f"evaluate run.yaml {TRAINED} --runs {{retrain}}/runs --runs {{baselines}}/runs --output {{out}}",
    ),
    Scenario("predict", "predict --bundle {retrain}/bundle --input clicks.csv --output {out}/scored.parquet"),
    Scenario("predict folder", PREDICT_FOLDER),
    Scenario("export torch", "export --bundle {retrain}/bundle --format torch --output {out}/exported"),
    Scenario("export onnx", "export --bundle {retrain}/bundle --format onnx --output {out}/exported"),
    Scenario(
        "join-labels", "join-labels --log {folder}/log --labels labels.csv --output {out}/joined.parquet"
    ),
    Scenario("ingest joined", "ingest joined.yaml --store {out}"),
    Scenario("run", "run run.yaml --output {out}", whole=True),
    Scenario("compare", "compare compare.yaml --output {out}", whole=True),
    Scenario("first day", "run first.yaml --output {out}", whole=True),
    Scenario("promote", "promote --registry {out}/registry --bundle {folder}/reference/first-day/bundle"),
    Scenario("ingest-window", "ingest-window daily.yaml --until 2026-01-02 --store {out}"),
    Scenario("champion", "champion --registry {folder}/reference/promote/registry --output {out}"),
    Scenario(
        "grow",
        "grow daily.yaml --ingested {ingest-window} --champion {folder}/reference/champion --store {out}",
    ),
    Scenario(
        "drift", "drift daily.yaml --dataset {grow} --champion {folder}/reference/champion --output {out}"
    ),
    Scenario(
        "refresh", "refresh daily.yaml --dataset {grow} --champion {folder}/reference/champion --output {out}"
    ),
    Scenario(
        "gate",
        "gate daily.yaml --ingested {ingest-window} --challenger {folder}/reference/refresh/bundle"
        " --champion {folder}/reference/champion --output {out}",
    ),
    Scenario(
        "report",
        "report --drift {folder}/reference/drift --verdict {folder}/reference/gate --output {out}",
    ),
    Scenario(
        "scheduled-retrain",
        "scheduled-retrain daily.yaml --until 2026-01-02 --output {out}/day --set registry={out}/registry",
        _registry,
        whole=True,
        ended=_promoted,
    ),
    Scenario(
        "retrain tuned", f"retrain run.yaml {TRAINED} --tuned {{folder}}/reference/tune --output {{out}}"
    ),
    Scenario("batch-predict", "batch-predict nightly.yaml --output {out}", whole=True),
    Scenario("predict again", PREDICT_FOLDER, _predictions, again=True),
    Scenario(
        "search again",
        "search autofis.yaml --dataset {vocabulary} --output {out}",
        _search_checkpoints,
        again=True,
    ),
    Scenario("tune again", TUNE, _studies, again=True),
    Scenario("retrain again", f"retrain run.yaml {TRAINED} --output {{out}}", _checkpoints, again=True),
    Scenario("run again", "run run.yaml --output {out}", _stopped, whole=True, again=True),
    Scenario("compare again", "compare compare.yaml --output {out}", _jobs, whole=True, again=True),
    Scenario(
        "promote passed",
        "promote --registry {out}/registry --bundle {folder}/reference/refresh/bundle"
        " --verdict {folder}/reference/gate/verdict.json",
        _registry,
    ),
    Scenario("regression", "regression compare.yaml --baseline baseline.json --output {out}", whole=True),
)
