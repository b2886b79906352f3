"""The effect of batches 16 times as large on quality, with and without `base_batch_size`, on planted clicks.

python benchmarks/large_batch.py [--seeds 5] [--rows 120000]
"""

import argparse
import datetime
from pathlib import Path
from typing import Any

import fast  # noqa: F401
import numpy as np
import torch
from machine import describe
from plain import PLAIN

from ctrloom.architecture import Architecture
from ctrloom.config import Hyperparameters, SourceConfig
from ctrloom.data.batches.batch import Batch
from ctrloom.data.synthetic import Planted, SynthConfig
from ctrloom.metrics.measure import auc as area
from ctrloom.metrics.measure import row_logloss
from ctrloom.models import build
from ctrloom.schema import Field, Schema
from ctrloom.training.loop import fit, score

BASE, TIMES = 500, 16
SIZES = {"200 values a field": (200,), "200 and 5,000 values, alternating": (200, 5000)}
SETTINGS: dict[str, Any] = {
    "embedding_size": 10,
    "hidden": [64, 32],
    "learning_rate": 0.003,
    "embedding_l2": 1e-6,
    "embedding_optimizer": "lazy_adam",
    "epochs": 30,
    "patience": 3,
}
WAYS: dict[str, dict[str, Any]] = {
    f"batch {BASE}": {"batch_size": BASE},
    f"batch {BASE * TIMES:,}": {"batch_size": BASE * TIMES},
    f"batch {BASE * TIMES:,}, all learning rates times {TIMES**0.5:g}": {
        "batch_size": BASE * TIMES,
        "learning_rate": SETTINGS["learning_rate"] * TIMES**0.5,
    },
    f"batch {BASE * TIMES:,}, base_batch_size: {BASE}": {
        "batch_size": BASE * TIMES,
        "base_batch_size": BASE,
    },
}


def main() -> None:
    """Train and write `benchmarks/results/large-batch-<date>.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=120_000)
    args = parser.parse_args()
    today = datetime.date.today()
    lines = [
        f"# Large batches, {today}",
        "",
        f"`python benchmarks/large_batch.py`, {describe('torch')}; {torch.get_num_threads()} thread(s), on a "
        f"machine in use. DeepFM on {args.rows:,} clicks of 12 fields with 6 planted pairs (`make "
        f"demo`), 80 % for training; {args.seeds} seeds; the best epoch by validation AUC of "
        f"{SETTINGS['epochs']} at most. Settings: {SETTINGS}.",
    ]
    for shape, sizes in SIZES.items():
        lines += ["", f"| {shape} | test AUC | test logloss | epochs | seconds |", "|---|--:|--:|--:|--:|"]
        schema, rows = clicks(args.rows, sizes)
        cut = [len(rows) * tenths // 10 for tenths in (8, 9)]
        parts = rows[: cut[0]], rows[cut[0] : cut[1]], rows[cut[1] :]
        for name, own in WAYS.items():
            cells = [trained(schema, parts, own, seed) for seed in range(args.seeds)]
            auc, logloss, epochs, seconds = np.array(cells).T
            lines.append(
                f"| {name} | {auc.mean():.4f} ± {auc.std(ddof=1):.4f} | {logloss.mean():.4f} ± "
                f"{logloss.std(ddof=1):.4f} | {epochs.mean():.1f} | {seconds.mean():.1f} |"
            )
            print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / f"large-batch-{today}.md").write_text(text)
    print(text)


def trained(
    schema: Schema, parts: tuple[Batch, Batch, Batch], own: dict[str, Any], seed: int
) -> tuple[float, float, int, float]:
    """AUC and logloss of a model on test rows, its best epoch and the training time in seconds."""
    train, valid, test = parts
    hyper = Hyperparameters.parse({**PLAIN, **SETTINGS, **own}, "benchmark")
    torch.manual_seed(seed)
    model = build("deepfm", Architecture.complete(schema.names), schema, hyper)
    history = fit(model, train, valid, hyper, seed, f"seed {seed}")
    logit_N, label_N = score(model, test).astype(float), test.label_N.numpy()
    logloss = float(row_logloss(logit_N, label_N).mean())
    return area(logit_N, label_N), logloss, history.best, history.seconds


def clicks(count: int, sizes: tuple[int, ...]) -> tuple[Schema, Batch]:
    """Synthetic clicks, encoded without files: value v has id v + 2."""
    made = Planted(SynthConfig(rows=count, sizes=sizes))
    values, labels = (np.concatenate(part) for part in zip(*made.chunks(), strict=True))
    fields = [
        Field(name=name, column=name, kind="categorical", size=size + 2)
        for name, size in zip(made.names, made.sizes, strict=True)
    ]
    columns = {"click": "label", **dict.fromkeys(made.names, "categorical")}
    schema = Schema(fields=tuple(fields), source=SourceConfig.parse({"columns": columns}, "benchmark"))
    ids = (values + 2 + np.array(schema.offsets)).astype(np.int32)
    return schema, Batch(torch.from_numpy(ids), torch.from_numpy(labels.astype(np.float32)))


if __name__ == "__main__":
    main()
