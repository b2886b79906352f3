"""Tune models with the same budget, on validation rows; the test split is not read.

Every model is tried with the same draws from one space of common settings, so that all get the same tuning
effort. Finished trials are appended to a file and not run again.

    python benchmarks/tuning.py configs/frappe.yaml --models fm ipnn deepfm --trials 12 --output trials.jsonl
    python benchmarks/tuning.py ... --models optinter --architecture search/architecture.json
"""

import argparse
import json
import math
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

COMMON = {"epochs": 60, "patience": 2, "decays": 1, "monitor": "logloss", "precision": "bfloat16"}


def draw(trial: int) -> dict[str, Any]:
    """The common settings of trial number `trial`."""
    rng = np.random.default_rng(trial)
    width, depth = int(rng.choice([200, 400, 600])), int(rng.choice([1, 2, 3]))
    return {
        "embedding_size": int(rng.choice([10, 20, 40])),
        "embedding_l2": float(10 ** rng.uniform(-2.3, -1.0)),
        "learning_rate": float(10 ** rng.uniform(-3.1, -2.3)),
        "dropout": float(rng.choice([0.1, 0.2, 0.3, 0.4])),
        "batch_size": int(rng.choice([1024, 4096])),
        "hidden": [width] * depth,
    }


def run(
    manifest: str, architecture: str | None, model: str, trial: int, own: dict[str, Any]
) -> dict[str, Any]:
    """Train once; the result on validation rows."""
    import fast  # noqa: F401

    from ctrloom.architecture import Architecture
    from ctrloom.data.dataset import Dataset
    from ctrloom.training.runs import Plan, open_runs, train_runs

    dataset = Dataset.open(manifest)
    found = Architecture.load(architecture) if architecture else Architecture.complete(dataset.schema.names)
    settings = {**COMMON, **draw(trial), **own}
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        plan = Plan(model, f"{model}, trial {trial}", "baseline", model, (found,))
        train_runs(dataset, [plan], {model: settings}, [0], Path(folder) / "runs")
        (record,) = open_runs(Path(folder) / "runs")[0].record.seeds
    history, best = record.history, record.history.best_epoch
    return {
        "model": model,
        "trial": trial,
        "valid_auc": best.valid_auc,
        "valid_logloss": best.valid_logloss,
        "epoch": history.best,
        "seconds": round(time.perf_counter() - began, 1),
        "settings": settings,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="run configuration, for its data")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--architecture", help="architecture found by a search")
    parser.add_argument("--own", default="{}", help="further settings of the model, as JSON")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--store", type=Path, default=Path("data/store"))
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()

    from ctrloom import stages
    from ctrloom.config.files import load_run_config

    config = load_run_config(given.config, [each.partition("=")[::2] for each in given.set])
    manifest = stages.vocabulary(stages.ingest(config.data, given.store), config.vocabulary, given.store)
    own = json.loads(given.own)
    done = (
        [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []
    )
    known = {(each["model"], json.dumps(each["settings"], sort_keys=True)) for each in done}
    os.environ["OMP_NUM_THREADS"] = "1"
    wanted = [
        (model, trial)
        for trial in range(given.first, given.first + given.trials)
        for model in given.models
        if (model, json.dumps({**COMMON, **draw(trial), **own}, sort_keys=True)) not in known
    ]
    with (
        ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool,
        open(given.output, "a") as out,
    ):
        jobs = [pool.submit(run, str(manifest), given.architecture, m, t, own) for m, t in wanted]
        for job in jobs:
            try:
                result = job.result()
            except ValueError as error:  # diverged
                print(f"failed: {error}", flush=True)
                continue
            out.write(json.dumps(result) + "\n")
            out.flush()
            done.append(result)
            print({k: v for k, v in result.items() if k != "settings"}, flush=True)
    for model in given.models:
        trials = [each for each in done if each["model"] == model and math.isfinite(each["valid_logloss"])]
        best = max(trials, key=lambda each: each["valid_auc"])
        print(
            f"{model}: {len(trials)} trials, best validation AUC {best['valid_auc']:.5f}, {best['settings']}"
        )


if __name__ == "__main__":
    main()
