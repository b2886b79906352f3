"""A small finished run: a search, its controls, two baselines, two seeds."""

from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

from small import COLUMNS

import ctrloom
from ctrloom.config import RunConfig
from ctrloom.data.dataset import Dataset

MODEL = {
    "embedding_size": 4,
    "hidden": [8],
    "dropout": 0,
    "epochs": 3,
    "batch_size": 128,
    "learning_rate": 0.01,
}
RUN: dict[str, Any] = {
    "name": "small",
    "data": {"files": {"train": "x", "valid": "x", "test": "x"}, "columns": COLUMNS},
    "search": {"method": "statistics_auc", "keep": {"2": 3}},
    "models": {"default": MODEL},
    "baselines": ["lr", "fm"],
    "transfer": [],
    "seeds": [0, 3],
    "evaluation": {"base": "fm", "bootstrap": 50, "permutations": 0},
}


@dataclass(frozen=True)
class Finished:
    """The folder of a finished run, and where its trainings are."""

    folder: Path
    trainings: tuple[Path, ...]


def finish(dataset: Dataset, base: Path) -> Finished:
    """Run the stages in a folder, and put their results where `ctrloom run` does."""
    config, run = RunConfig.parse(RUN, "test"), base / "run"
    ctrloom.search(config, dataset, base / "search")
    ctrloom.retrain(config, dataset, base / "search", base / "retrained")
    ctrloom.baselines(config, dataset, base / "baselines")
    trainings = base / "retrained" / "runs", base / "baselines" / "runs"
    ctrloom.evaluate(config, dataset, base / "search", list(trainings), run)
    for name in ("architecture.json", "search.json"):
        (run / name).write_bytes((base / "search" / name).read_bytes())
    copytree(base / "retrained" / "bundle", run / "bundle")
    return Finished(run, trainings)


def place(seed: dict[str, Any]) -> str:
    """Where a training is shown below its model: several selections have one for each."""
    draw = seed.get("draw")
    return f"seed-{seed['seed']}" + (f"-draw-{draw}" if draw is not None else "")
