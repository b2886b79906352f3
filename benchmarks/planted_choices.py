"""How often OptInter models a planted pair as it was generated: memorized, as a product, or left out.

    python benchmarks/planted_choices.py [--seeds 5]

Every run generates clicks, ingests them, counts crosses and searches, as a user would. The search does not
see what was planted.
"""

import argparse
import datetime
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import fast  # noqa: F401
from machine import describe
from plain import PLAIN

from ctrloom.config import DataConfig, OptInterConfig, OptInterSettings, VocabularyConfig
from ctrloom.data.dataset import Dataset
from ctrloom.data.ingest.run import ingest
from ctrloom.data.synthetic import Planted, SynthConfig, synthesize
from ctrloom.data.vocabulary.build import build_vocabulary
from ctrloom.methods.optinter import search
from ctrloom.stages.search_stage import search_data

ROWS, FEW, MANY = 225_000, 20, 200  # rows; values of the two kinds of fields
KINDS = ("random table", "product", "noise")
CHOICES = ("memorize", "hadamard", "left out")
SETTINGS = {"embedding_size": 8, "cross_embedding_size": 4}
BI_LEVEL = {"bi_level": True, "warm_up": 3, "epochs": 3, "patience": 3}
SEARCHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # settings of the search, and of its model
    "defaults, perceptron of 64 and 32": ({"epochs": 2}, {"hidden": (64, 32)}),
    "bi-level, 3 + 3 passes, slots read linearly": (BI_LEVEL, {"hidden": ()}),
}


def run(seed: int, name: str, dataset: Dataset, made: Planted) -> tuple[Counter, float]:
    """Counts of (kind of pair, choice), and the seconds of the search."""
    config, model = SEARCHES[name]
    settings = OptInterConfig(seed=seed, random_draws=0, **config)
    hyper = OptInterSettings.parse({**PLAIN, **SETTINGS, **model}, "benchmark")
    found = search(search_data(dataset, hyper), settings, hyper)
    chosen = {i.fields: i.function for i in found.architecture.interactions}
    names = {kind: {tuple(made.names[f] for f in t) for t in ts} for kind, ts in planted(made).items()}
    counts: Counter = Counter()
    for candidate in found.trace.candidates[::3]:
        kind = next((k for k, pairs in names.items() if candidate.fields in pairs), "noise")
        counts[kind, chosen.get(candidate.fields, "left out")] += 1
    return counts, found.trace.seconds


def planted(made: Planted) -> dict[str, list[tuple[int, ...]]]:
    """The planted pairs, by kind."""
    return {
        "random table": made.tables,
        "product": [t for t in made.interactions if t not in made.tables],
    }


def encoded(config: SynthConfig, folder: Path) -> Dataset:
    """The clicks as a data set with crosses."""
    clicks = synthesize(config, folder)
    columns = {"click": "label", **dict.fromkeys(Planted(config).names, "categorical")}
    data = DataConfig.parse({"files": str(clicks), "columns": columns}, "benchmark")
    crosses = VocabularyConfig.parse({"crosses": {}}, "benchmark")
    return Dataset.open(build_vocabulary(ingest(data, folder), crosses, folder))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    total: dict[str, Counter] = {name: Counter() for name in SEARCHES}
    worst, seconds = dict.fromkeys(SEARCHES, 1.0), dict.fromkeys(SEARCHES, 0.0)
    for seed in range(seeds):
        shape = {"fields": 8, "sizes": (FEW, MANY), "tables": 3, "pairs": 3, "rank": 2}
        config = SynthConfig(rows=ROWS, **shape, zipf=0.5, main_effects=0.3, noise=0.5, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            dataset = encoded(config, Path(folder))
            for name in SEARCHES:
                counts, took = run(seed, name, dataset, Planted(config))
                total[name] += counts
                seconds[name] += took
                worst[name] = min(worst[name], right(counts) / counts.total())
                print(seed, name, dict(counts), f"{took:.0f} s", file=sys.stderr)
    lines = [
        "# OptInter on planted pairs",
        "",
        f"`python benchmarks/planted_choices.py --seeds {seeds}`, {datetime.date.today().isoformat()}. "
        f"{describe('torch', 'numpy')}.",
        "",
        f"{ROWS:,} rows (80 % train), 4 fields of {FEW} values and 4 of {MANY}. Of the 28 pairs three "
        f"between small fields have a random table ({FEW * FEW} cells of 450 training rows), three "
        f"between large fields a product of rank 2 ({MANY * MANY:,} cells of 4.5 rows), and 22 "
        "nothing. Sums over seeds; correct means: table memorized, product factorized, noise left out.",
        "",
        "| search | pairs | memorized | factorized | left out |",
        "|---|---|--:|--:|--:|",
    ]
    for name, counts in total.items():
        lines += [f"| {name} | {k} | " + " | ".join(str(counts[k, c]) for c in CHOICES) + " |" for k in KINDS]
    lines.append("")
    for name, counts in total.items():
        lines.append(
            f"{name.capitalize()}: {100 * right(counts) / counts.total():.0f} % correct, in the worst seed "
            f"{100 * worst[name]:.0f} %; {seconds[name] / seeds:.0f} s a search."
        )
    text = "\n".join(lines) + "\n"
    (
        Path(__file__).parent / "results" / f"planted-choices-{datetime.date.today().isoformat()}.md"
    ).write_text(text)
    print(text)


def right(counts: Counter) -> int:
    """Pairs that are modelled as they were generated."""
    return sum(counts[pair] for pair in zip(KINDS, CHOICES, strict=True))


if __name__ == "__main__":
    main()
