"""Rows in memory compared with streamed rows: time to the first step, and rows/s of the training loop.

    python benchmarks/feeding.py [--rows 1250000] [--batch 10000] [--threads 2] [--device cuda]

FM at Criteo's shape with lazy Adam. First an encoded data set is written. Then both ways alternate, one pass
each, so that other load affects both equally.
"""

import argparse
import datetime
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fast  # noqa: F401
import torch
from machine import describe
from training.shapes import schema_of, sizes_of
from whole import wait, write

from ctrloom.architecture import Architecture
from ctrloom.config import Hyperparameters
from ctrloom.data.batches.batch import BatchSource
from ctrloom.data.dataset import Dataset
from ctrloom.models import build
from ctrloom.training.checkpoints import Loop
from ctrloom.training.loop import adam, pick_device, seed_everything
from ctrloom.training.passes import Passes, run_epoch
from ctrloom.training.step import Step

TURNS = 5


def step_of(dataset: Dataset, device: torch.device) -> Step:
    """A new model, before its first step."""
    torch.manual_seed(0)
    hyper = Hyperparameters(embedding_size=20)
    model = build("fm", Architecture.complete(dataset.schema.names), dataset.schema, hyper).to(device)
    optimizer = adam(model, 1e-3, tables="lazy_adam")
    return Step(model, optimizer.step, [optimizer])


def main() -> None:
    """Measure and write `benchmarks/results/feeding-<device>-<date>.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_250_000, help="of which 80 %% are for training")
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device, sizes = pick_device(given.device), sizes_of("criteo", 1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), schema_of(sizes), sizes, given.rows, 1)
        dataset = Dataset.open(folder)
        ways: dict[str, Callable[[], BatchSource]] = {
            "in memory": lambda: dataset.rows("train").to(device),
            "streamed": lambda: dataset.stream("train").to(device),
        }
        first: dict[str, list[float]] = {name: [] for name in ways}
        rates: dict[str, list[float]] = {name: [] for name in ways}
        work: dict[str, list[float]] = {name: [] for name in ways}
        step_of(dataset, device)(next(ways["streamed"]().batches(given.batch)))  # loads libraries
        for _ in range(TURNS):
            for name, feed in ways.items():
                step, generator = step_of(dataset, device), seed_everything(0)
                began = wait(device)
                rows = feed()
                batches = Passes(rows, given.batch, generator).batches()
                step(next(batches))
                first[name].append(wait(device) - began)
                del batches
                began, busy = time.perf_counter(), time.process_time()
                run_epoch(step, Passes(rows, given.batch, generator), Loop(name), lambda *_: None)
                rates[name].append(rows.total / (time.perf_counter() - began))
                work[name].append(1e6 * (time.process_time() - busy) / rows.total)
    total = dataset.rows_in("train")
    lines = [
        f"# Feeding a training, {datetime.date.today()}",
        "",
        f"`python benchmarks/feeding.py --rows {given.rows} --batch {given.batch} --threads {given.threads} "
        f"--device {given.device}`, {describe('torch', 'pyarrow')}; the machine was in use, its load "
        f"{os.getloadavg()[0]:.1f} at the end. FM, 39 fields, {dataset.schema.table_size:,} ids, embeddings "
        f"of 20; {total:,} rows for training, {total * dataset.row_bytes() / 1e6:,.0f} MB in memory. Medians "
        f"of {TURNS} turns.",
        "",
        "| rows | to the first step, s | training, rows/s | against memory | CPU s per million rows |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in ways:
        ratio = statistics.median(a / b for a, b in zip(rates[name], rates["in memory"], strict=True))
        seconds, rate = statistics.median(first[name]), statistics.median(rates[name])
        busy = statistics.median(work[name])
        lines.append(f"| {name} | {seconds:.2f} | {rate:,.0f} | {ratio:.2f} | {busy:.2f} |")
    text = "\n".join(lines) + "\n"
    (given.output / f"feeding-{given.device}-{datetime.date.today()}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
