"""Planted pairs that gates find, and that statistics find: methods x sizes of fields x seeds.

    python benchmarks/planted_selections.py [--seeds 5]

Selections are given the number of pairs; searches with gates are not.
"""

import argparse
import datetime
import sys
import tempfile
from pathlib import Path
from typing import Any

import fast  # noqa: F401
from machine import describe
from planted_recovery import prepared

from ctrloom.config import METHODS, Hyperparameters, search_config
from ctrloom.data.synthetic import Planted, SynthConfig
from ctrloom.methods.interface import SearchData
from ctrloom.stages.search_stage import search_data

SIZES = {"all of 200 values": (200,), "of 4, 8 and 300 values": (4, 8, 300)}
PAIRS = 6
RUNS: dict[str, dict[str, Any]] = {
    "AutoFIS": {"method": "autofis"},
    "AutoFIS, bi-level": {"method": "autofis", "bi_level": True},
    "statistics-AUC": {"method": "statistics_auc", "keep": {2: PAIRS}},
    "mutual information": {"method": "mutual_information", "keep": {2: PAIRS}},
    "mutual information, corrected": {"method": "mutual_information", "keep": {2: PAIRS}, "corrected": True},
    "random": {"method": "random", "keep": {2: PAIRS}},
}


def recover(
    task: SearchData, truth: set[tuple[str, ...]], run: dict[str, Any], seed: int
) -> tuple[int, int, float]:
    """Planted pairs that were kept, other pairs that were kept, and seconds."""
    config = search_config({**run, "seed": seed, "random_draws": 0})
    found = METHODS[config.method].find(task, config, Hyperparameters())
    kept = set(found.architecture.of_order(2))
    return len(kept & truth), len(kept - truth), found.trace.seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    today = datetime.date.today().isoformat()
    lines = [
        "# Planted pairs that gates and statistics find",
        "",
        f"`python benchmarks/planted_selections.py --seeds {seeds}`, {today}. {describe('torch', 'numpy')}.",
        "",
        f"60,000 rows (80 % train), 12 fields, {PAIRS} of 66 pairs planted; the rest by default. Selections "
        "keep as many pairs as are planted. Counts are sums over seeds, seconds means.",
        "",
        "| fields | method | found | wrongly kept | seconds |",
        "|---|---|--:|--:|--:|",
    ]
    for shape, sizes in SIZES.items():
        results: dict[str, list[tuple[int, int, float]]] = {name: [] for name in RUNS}
        for seed in range(seeds):
            made = SynthConfig(rows=60_000, fields=12, sizes=sizes, pairs=PAIRS, seed=seed)
            names = Planted(made).names
            truth = {tuple(names[f] for f in pair) for pair in Planted(made).interactions}
            with tempfile.TemporaryDirectory() as folder:
                task = search_data(prepared(made, Path(folder)), Hyperparameters())
                for name, run in RUNS.items():
                    results[name].append(recover(task, truth, run, seed))
        for name, cells in results.items():
            found, wrong, seconds = (sum(column) for column in zip(*cells, strict=True))
            lines.append(
                f"| {shape} | {name} | {found} of {PAIRS * seeds} | {wrong} | {seconds / seeds:.1f} |"
            )
            print(lines[-1], file=sys.stderr)
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / f"planted-selections-{today}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
