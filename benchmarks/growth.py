"""How the cost per row depends on size: FM over more rows, and over larger vocabularies.

    python benchmarks/growth.py [--rows 1 3 10 30] [--ids 1 3 10] [--threads 2] [--device cuda]

Criteo's 39 fields, embedding size 20, batches of 10,000 rows, row-wise Adam. All rows are in memory as one
matrix and are shuffled in every pass; a million distinct rows are repeated, which does not change the memory
access pattern. Passes are timed in parts, and sizes are interleaved, so that other load affects all equally.
"""

import argparse
import datetime
import os
import statistics
import time
from pathlib import Path

import fast  # noqa: F401
import torch
from machine import describe, on
from training.shapes import encoded, sizes_of

from ctrloom.architecture import Architecture
from ctrloom.config import Hyperparameters
from ctrloom.data.batches.batch import Batch
from ctrloom.models import build
from ctrloom.training.loop import adam, pick_device, seed_everything
from ctrloom.training.passes import Passes
from ctrloom.training.step import Step

BATCH, DIFFERENT, PARTS = 10_000, 10**6, 5
PART = {"cpu": 16, "cuda": 90}  # steps that are timed together; a pass over a million rows has 100


class Pass:
    """A training pass that is run in parts."""

    def __init__(self, ids: int, rows: int, device: torch.device) -> None:
        schema, drawn = encoded(sizes_of("criteo", ids), DIFFERENT)
        times = rows // DIFFERENT
        drawn = drawn.to(device)
        self.rows = Batch(drawn.ids_NC.repeat(times, 1), drawn.label_N.repeat(times))
        self.steps = PART[device.type]
        hyper = Hyperparameters(embedding_size=20, embedding_optimizer="lazy_adam")
        self.generator = seed_everything(0)
        model = build("fm", Architecture.complete(schema.names), schema, hyper).to(device).train()
        optimizer = adam(model, 1e-3, tables="lazy_adam")
        self.step = Step(model, optimizer.step, [optimizer])
        self.batches = Passes(self.rows, BATCH, self.generator).endless()
        self.part()  # the first allocates

    def part(self) -> float:
        """Rows a second over the next steps."""
        began, loss = time.perf_counter(), torch.zeros(())
        for _ in range(self.steps):
            loss = self.step(next(self.batches))
        float(loss)  # waits for the GPU
        return self.steps * BATCH / (time.perf_counter() - began)


def table(title: str, unit: str, passes: dict[int, Pass]) -> list[str]:
    """Rates of interleaved passes."""
    rates: dict[int, list[float]] = {size: [] for size in passes}
    for _ in range(PARTS):
        for size, each in passes.items():
            rates[size].append(each.part())
    least = min(rates)
    lines = ["", f"| {title} | rows/s | against the smallest |", "|--:|--:|--:|"]
    for size, found in rates.items():
        ratio = statistics.median(mine / first for mine, first in zip(found, rates[least], strict=True))
        lines.append(f"| {size} {unit} | {statistics.median(found):,.0f} | {ratio:.2f} |")
    print("\n".join(lines), flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 3, 10, 30], help="millions")
    parser.add_argument("--ids", type=int, nargs="+", default=[1, 3, 10], help="millions")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device, date = pick_device(arguments.device), datetime.date.today().isoformat()
    page = [
        "# The cost of a row as the work grows",
        "",
        f"`python benchmarks/growth.py --threads {arguments.threads} --device {device.type}`, {date}, "
        f"{on(device.type)}. "
        f"{describe('torch')}. FM, "
        f"39 fields, embedding size 20, batch {BATCH:,}, row-wise Adam; "
        f"median of {PARTS} parts of {PART[device.type]} steps.",
    ]
    page += table("rows", "million", {n: Pass(10**6, n * 10**6, device) for n in arguments.rows})
    page += table("ids", "million", {n: Pass(n * 10**6, 10**6, device) for n in arguments.ids})
    target = arguments.output / f"growth-{'' if device.type == 'cpu' else 'cuda-'}{date}.md"
    target.write_text("\n".join([*page, ""]))
    print(target)


if __name__ == "__main__":
    main()
