"""The effect of pruning on scoring: rows per second in batches, and latency of a single row, by model.

    python benchmarks/inference.py [--threads 1] [--rows 20000]

Every model that can be built from a selection of pairs, over all 741 of Criteo's 39 fields and over a quarter
and a tenth of them, drawn at random: speed does not depend on which pairs are kept. Weights are
initial ones. Models are interleaved, and the figures are medians over the turns.
"""

import argparse
import datetime
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import fast  # noqa: F401
import numpy as np
import torch
from machine import describe
from plain import PLAIN
from training.shapes import encoded, sizes_of

from ctrloom.architecture import Architecture
from ctrloom.config import MODELS, ModelsConfig
from ctrloom.models import build
from ctrloom.schema import Schema
from ctrloom.training.loop import score

SHARES = (1.0, 0.25, 0.1)
TURNS = 5
SINGLE = 200  # rows scored one by one, per turn
NAMES = (*(name for name in MODELS if MODELS[name].transfers), "autofm", "autodeepfm")


def selection(schema: Schema, share: float) -> Architecture:
    """A random share of all pairs."""
    every = Architecture.complete(schema.names)
    if share == 1:
        return every
    drawn = np.random.default_rng(0).permutation(len(every.interactions))
    kept = sorted(drawn[: round(share * len(drawn))])
    return every.model_copy(update={"interactions": tuple(every.interactions[i] for i in kept)})


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    schema, rows = encoded(sizes_of("criteo", 1_000_000), arguments.rows)
    single = [rows[i : i + 1] for i in range(SINGLE)]
    lines = []
    for name in NAMES:
        if name in ("poly2", "hofm"):  # poly2 needs crosses, which random data lack; hofm adds higher orders
            continue
        hyper = ModelsConfig({name: {**PLAIN, "embedding_size": 20}}).of(name)
        models = {share: build(name, selection(schema, share), schema, hyper).eval() for share in SHARES}
        found: dict[float, list[tuple[float, float]]] = {share: [] for share in SHARES}
        for turn in range(TURNS + 1):
            for share, model in models.items():
                whole = seconds(lambda model=model: score(model, rows))  # type: ignore[misc]
                one = seconds(lambda model=model: [score(model, row) for row in single])  # type: ignore[misc]
                if turn:  # the first turn allocates
                    found[share].append((len(rows) / whole, one / SINGLE * 1e3))
        rates = {s: statistics.median(rate for rate, _ in each) for s, each in found.items()}
        delays = {s: statistics.median(delay for _, delay in each) for s, each in found.items()}
        sizes = {s: sum(p.numel() for p in m.parameters()) for s, m in models.items()}
        cells = [
            MODELS[name].title,
            *(f"{rates[s]:,.0f}" for s in SHARES),
            *(f"{rates[s] / rates[1.0]:.1f}x" for s in SHARES[1:]),
            *(f"{delays[s]:.2f}" for s in SHARES),
            *(f"{sizes[s] / 1e6:.1f}" for s in SHARES),
        ]
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    date = datetime.date.today().isoformat()
    page = [
        "# Scoring with and without pruning",
        "",
        f"`python benchmarks/inference.py --threads {arguments.threads} --rows {arguments.rows}`, {date}. "
        f"{describe('torch')}.",
        "",
        "39 fields, 1 million ids, embedding size 20, perceptrons 400 x 3; all 741 pairs, a quarter of them, "
        f"and a tenth. Median of {TURNS} turns; float32.",
        "",
        "| model | rows/s, all | 25 % | 10 % | 25 % against all | 10 % against all "
        "| ms a row, all | 25 % | 10 % | million weights, all | 25 % | 10 % |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        *lines,
        "",
    ]
    target = arguments.output / f"inference-{date}.md"
    target.write_text("\n".join(page))
    print(target)


if __name__ == "__main__":
    main()
